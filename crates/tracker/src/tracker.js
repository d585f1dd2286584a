// What happens in a page, as events of receive(). No cookie, and nothing is kept in the browser.
//
// A comment has a line of its own: such lines, and blanks at the beginning of lines, are not delivered.
(() => {
    const endpoint = 'ENDPOINT';
    // Less than site_stats.session_timeout, and as long as site_stats.heartbeat_window.
    const interval = 30000;
    const { document, history, location, navigator } = window;
    // The visitor said no, or this is no page of the web.
    if (navigator.globalPrivacyControl || navigator.doNotTrack === '1' || !/^http/.test(location.protocol)) return;

    let shown, wait, timer, isLeading, beatAt;
    const page = () => location.href.split('#')[0];
    const now = () => performance.now();

    // A text, so that another server is asked without a preflight. Its answer is of no use, and nor is an error.
    const send = (type, more) => {
        const body = JSON.stringify({ type, url: page(), ...more });
        try {
            fetch(endpoint, { method: 'POST', mode: 'no-cors', keepalive: true, body }).catch(() => {});
        } catch {}
    };

    // The next heartbeat: now, if one is due.
    const beat = () => {
        clearTimeout(timer);
        if (!isLeading) return;
        if (!(now() - beatAt < interval)) {
            send('heartbeat');
            beatAt = now();
        }
        timer = setTimeout(beat, beatAt + interval - now());
    };
    const beatNow = () => {
        beatAt = undefined;
        beat();
    };

    // Of the tabs that can be seen one leads, which is the one that has the lock. A hidden tab does not even wait for it. Where
    // there are no locks, each of them leads.
    const stop = () => {
        wait?.abort();
        isLeading = false;
        beat();
    };
    const start = () => {
        stop();
        if (document.visibilityState !== 'visible') return;
        const mine = wait = new AbortController();
        const { signal } = mine;
        const lead = () => {
            if (signal.aborted) return;
            isLeading = true;
            beat();
            return new Promise(resolve => signal.addEventListener('abort', resolve));
        };
        if (navigator.locks) navigator.locks.request('site_stats', { signal }, lead).catch(lead);
        else lead();
    };

    // A tab that leaves takes the visitor away. Others say at once that the visitor is still here, when they can be seen; but for
    // one that has just got the lock, and has said so.
    let channel;
    try {
        channel = new BroadcastChannel('site_stats');
        channel.onmessage = () => {
            if (!(now() - beatAt < 1000)) beatNow();
        };
    } catch {}

    const view = referrer => {
        shown = page();
        send('view', { referrer, language: navigator.language });
        beatNow();
    };
    // Where a visit came from is told by its first page.
    const route = () => {
        if (page() !== shown) view();
    };
    const run = () => {
        view(document.referrer || undefined);
        start();
        for (const name of ['pushState', 'replaceState']) {
            const change = history[name];
            history[name] = function () {
                const path = location.pathname;
                const result = change.apply(this, arguments);
                // A new query in the place of the old one is the same page.
                if (name === 'replaceState' && path === location.pathname) shown = page();
                else route();
                return result;
            };
        }
        addEventListener('popstate', route);
        addEventListener('pagehide', () => {
            if (isLeading) {
                send('leave');
                channel?.postMessage(0);
            }
            stop();
        });
        // Back, from the cache of the browser.
        addEventListener('pageshow', ({ persisted }) => {
            if (persisted) {
                view();
                start();
            }
        });
        document.addEventListener('visibilitychange', start);
    };
    // A prerendered page waits until it is shown.
    if (document.prerendering) document.addEventListener('prerenderingchange', run, { once: true });
    else run();
})();
