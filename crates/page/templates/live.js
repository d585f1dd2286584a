{
    const number = document.getElementById('now');
    new EventSource(number.dataset.live).onmessage = message => {
        const { visitors } = JSON.parse(message.data);
        if (Number.isSafeInteger(visitors)) number.textContent = visitors.toLocaleString('en');
    };
}
