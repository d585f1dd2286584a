// Runs a tracker in a page that is made up, with a clock of its own, and compares what it sends.
//
//     node tests/samples/tracker.mjs samples/tracker.js

import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import vm from 'node:vm';

const code = readFileSync(process.argv[2], 'utf8');

// What can be listened to.
class Target {
    listeners = [];
    addEventListener = (type, listener, { once } = {}) => this.listeners.push({ type, listener, once });
    fire(type, event = {}) {
        for (const one of this.listeners.filter(one => one.type === type)) {
            one.listener(event);
            if (one.once) this.listeners.splice(this.listeners.indexOf(one), 1);
        }
    }
}

function open({ url = 'https://example.com/a?b=1#c', referrer = 'https://other.example/', hidden, prerendering, navigator = {} } = {}) {
    const sent = [];
    const timers = new Map();
    let timer = 0;
    const location = { href: url };
    const document = Object.assign(new Target(), { referrer, prerendering, visibilityState: hidden ? 'hidden' : 'visible' });
    const window = new Target();
    const go = (state, title, to) => { location.href = new URL(to, location.href).href; };
    const page = Object.assign(window, {
        document,
        location,
        history: { pushState: go, replaceState: go },
        navigator: {
            language: 'de',
            sendBeacon: (to, body) => sent.push([to, JSON.parse(body)]),
            ...navigator,
        },
        setInterval: (work, time, ...more) => (timers.set(++timer, { work, time, more }), timer),
        clearInterval: id => timers.delete(id),
    });
    vm.runInNewContext(code, page);
    return Object.assign(page, {
        // What was sent since the last time: types, with the page.
        sent: () => sent.splice(0).map(([to, { type, url }]) => (assert.equal(to, '/collect'), `${type} ${url}`)),
        all: () => sent.splice(0).map(([, event]) => event),
        // Half a minute goes by.
        tick: () => [...timers.values()].forEach(({ work, time, more }) => (assert.equal(time, 30_000), work(...more))),
        show: state => { document.visibilityState = state; document.fire('visibilitychange'); },
    });
}

const a = 'https://example.com/a?b=1';

// A view says where it came from, without the fragment; heartbeats follow.
let page = open();
assert.deepEqual(page.all(), [
    { type: 'view', url: a, referrer: 'https://other.example/', language: 'de' },
    { type: 'heartbeat', url: a },
]);
page.tick();
page.tick();
assert.deepEqual(page.sent(), [`heartbeat ${a}`, `heartbeat ${a}`]);

// A hidden tab is silent; one that is shown again is not.
page.show('hidden');
page.tick();
assert.deepEqual(page.sent(), []);
page.show('visible');
page.tick();
assert.deepEqual(page.sent(), [`heartbeat ${a}`, `heartbeat ${a}`]);

// A route change is a view, which came from the page before. A change of the fragment alone is none.
page.history.pushState({}, '', '/b');
assert.deepEqual(page.all(), [
    { type: 'view', url: 'https://example.com/b', referrer: a, language: 'de' },
    { type: 'heartbeat', url: 'https://example.com/b' },
]);
page.history.replaceState({}, '', '#d');
assert.deepEqual(page.sent(), []);
page.location.href = a;
page.fire('popstate');
assert.deepEqual(page.sent(), [`view ${a}`, `heartbeat ${a}`]);
page.tick();
assert.deepEqual(page.sent(), [`heartbeat ${a}`], 'there is one timer');

// A visitor leaves, and comes back from the cache of the browser.
page.fire('pagehide');
page.tick();
assert.deepEqual(page.sent(), [`leave ${a}`]);
page.fire('pageshow', { persisted: true });
assert.deepEqual(page.sent(), [`view ${a}`, `heartbeat ${a}`]);
page.fire('pageshow', { persisted: false });
assert.deepEqual(page.sent(), []);

// A tab that opens in the background.
page = open({ hidden: true });
page.tick();
assert.deepEqual(page.sent(), [`view ${a}`]);
page.show('visible');
assert.deepEqual(page.sent(), [`heartbeat ${a}`]);

// A prerendered page waits until it is shown.
page = open({ prerendering: true });
page.history.pushState({}, '', '/b');
page.tick();
page.fire('pagehide');
assert.deepEqual(page.sent(), []);
page.document.fire('prerenderingchange');
assert.deepEqual(page.sent(), ['view https://example.com/b', 'heartbeat https://example.com/b']);

// Who does not want it is left alone.
for (const navigator of [{ globalPrivacyControl: true }, { doNotTrack: '1' }]) {
    page = open({ navigator });
    page.history.pushState({}, '', '/b');
    page.tick();
    page.fire('pagehide');
    assert.deepEqual(page.sent(), []);
}
assert.equal(open({ navigator: { doNotTrack: 'unspecified' } }).sent().length, 2);
