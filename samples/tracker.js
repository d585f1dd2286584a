// For the pages: <script src="/tracker.js" defer></script>. No cookie, and nothing is stored.
(() => {
    const endpoint = '/collect';
    let shown, beats; // the page that was viewed last, and the timer of heartbeats
    let referrer = document.referrer;
    if (navigator.globalPrivacyControl || navigator.doNotTrack === '1') return; // the visitor said no

    const page = () => location.href.split('#')[0];
    const send = (type, more) => navigator.sendBeacon(endpoint, JSON.stringify({ type, url: page(), ...more }));
    const beat = () => {
        clearInterval(beats);
        if (document.visibilityState !== 'visible') return; // a hidden tab is silent
        send('heartbeat');
        beats = setInterval(send, 30_000, 'heartbeat'); // less than site_stats.heartbeat_window
    };
    const view = () => {
        if (page() === shown) return;
        shown = page();
        send('view', { referrer, language: navigator.language });
        referrer = shown;
        beat();
    };
    const start = () => {
        view();
        for (const name of ['pushState', 'replaceState']) { // route changes of an application
            const change = history[name];
            history[name] = function (...state) {
                change.apply(this, state);
                view();
            };
        }
        addEventListener('popstate', view);
        addEventListener('pageshow', ({ persisted }) => { // back, from the cache of the browser
            if (!persisted) return;
            shown = null;
            view();
        });
        addEventListener('pagehide', () => {
            clearInterval(beats);
            send('leave');
        });
        document.addEventListener('visibilitychange', beat);
    };
    if (document.prerendering) document.addEventListener('prerenderingchange', start, { once: true });
    else start(); // a prerendered page waits until it is shown
})();
