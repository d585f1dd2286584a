// Opens pages with the script of tracker() in Chromium, and compares what they send.
//
//     node tests/browser/tracker.mjs PACKAGES PSQL
//
// PACKAGES is a folder with puppeteer-core. PSQL asks a database with the extension; PGHOST and the like say which. CHROMIUM
// names the browser; by default it is that of Debian.
//
// Each case has a browser context and paths of its own, and names every event that is sent. Its pages have a clock that goes as
// the case says.

import assert from 'node:assert';
import { execFile } from 'node:child_process';
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';

const [packages, psql] = process.argv.slice(2);
const puppeteer = createRequire(path.resolve(packages, 'node_modules', 'x.js'))('puppeteer-core');
const INTERVAL = 30_000;
const NONCE = 'c2l0ZS1zdGF0cw==';

// What a statement returns. The variables are quoted by psql.
async function ask(statement, variables = {}) {
    const settings = Object.entries(variables).flatMap(([name, value]) => ['-v', `${name}=${value}`]);
    const asked = promisify(execFile)(psql, ['-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1', ...settings]);
    asked.child.stdin.end(statement);
    return (await asked).stdout.trimEnd();
}

// ---- a site ----------------------------------------------------------------------------------------------------------

// Waits for what must come soon. Whether it has come is for the caller to find.
async function until(isThere) {
    const end = Date.now() + 10_000;
    while (!isThere() && Date.now() < end) await new Promise(resolve => setTimeout(resolve, 10));
}

const cases = new Map(); // by the first part of their paths
const scripts = {};

async function collect(request, response) {
    const { method, headers } = request;
    const event = JSON.parse(await text(request));
    const [, number, name] = new URL(event.url).pathname.split('/');
    const { events, receive } = cases.get(number);
    assert.deepEqual(Object.keys(event).filter(key => !['type', 'url', 'referrer', 'language'].includes(key)), []);
    assert.equal(method, 'POST');
    assert.equal(headers['content-type'], 'text/plain;charset=UTF-8');
    assert.equal(headers.cookie, undefined);
    await receive?.(event, headers);
    events.push({ ...event, name: `${event.type} ${name}`, host: headers.host });
    response.writeHead(204).end();
}

const wrong = []; // requests that no case wants
const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const [, number, name] = pathname.split('/');
    const { head = '', headers = {}, script = 'here' } = cases.get(number) ?? {};
    if (pathname === '/collect') {
        return collect(request, response).catch(error => { wrong.push(error); response.writeHead(500).end(); });
    }
    if (pathname === '/fence') return response.writeHead(204).end();
    if (scripts[name]) return response.writeHead(200, { 'content-type': 'text/javascript' }).end(scripts[name]);
    if (cases.has(number)) cases.get(number).asked.push(name);
    else wrong.push(new Error(`${request.method} ${request.url}`));
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', ...headers });
    response.end(`<!DOCTYPE html><html lang="en"><title>${name}</title><link rel="icon" href="data:,">${head}
        <script src="/${number}/${script}" nonce="${NONCE}" defer></script><a href="/${number}/b">b</a></html>`);
});
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address();
const origin = `http://127.0.0.1:${port}`;
const elsewhere = `http://localhost:${port}`;

// ---- a browser -------------------------------------------------------------------------------------------------------

function launch(preferences) {
    const folder = mkdtempSync(path.join(tmpdir(), 'site_stats.browser.'));
    folders.push(folder);
    mkdirSync(path.join(folder, 'Default'));
    writeFileSync(path.join(folder, 'Default', 'Preferences'), JSON.stringify(preferences));
    return puppeteer.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
        userDataDir: folder,
        args: ['--no-sandbox', '--disable-gpu', '--accept-lang=en-GB'],
        ignoreDefaultArgs: ['--disable-back-forward-cache'],
    });
}
const folders = [];

// In the page: its clock goes ahead by pass(), and its long timers go by this clock. What its own code would see of an error of
// the script is noted.
function prepare() {
    let ahead = 0;
    const real = performance.now.bind(performance);
    const timers = new Map();
    const { setTimeout, clearTimeout } = window;
    performance.now = () => real() + ahead;
    window.setTimeout = (work, delay, ...more) => {
        if (!(delay > 1000)) return setTimeout(work, delay, ...more);
        timers.set(-1 - timers.size, { at: performance.now() + delay, work });
        return -timers.size;
    };
    window.clearTimeout = timer => timer < 0 ? timers.set(timer, null) : clearTimeout(timer);
    window.pass = time => {
        ahead += time;
        for (const [name, timer] of timers) {
            if (timer && timer.at <= performance.now()) {
                timers.set(name, null);
                timer.work();
            }
        }
    };
    window.errors = [];
    addEventListener('error', ({ message }) => window.errors.push(message));
    addEventListener('unhandledrejection', ({ reason }) => window.errors.push(String(reason)));
}

let browser = null;
let count = 0;

class Case {
    events = [];
    asked = []; // pages
    said = []; // by the browser, in the console
    pages = [];

    constructor(settings) {
        Object.assign(this, settings);
        this.number = `${++count}`;
        cases.set(this.number, this);
    }

    url = name => `${origin}/${this.number}/${name}`;

    async adopt(page) {
        this.pages.push(page);
        page.on('console', message => this.said.push(message.text()));
        page.on('pageerror', error => this.said.push(`error: ${error}`));
        await page.evaluateOnNewDocument(prepare);
        if (this.before) await page.evaluateOnNewDocument(this.before);
        return page;
    }

    // Another tab, which is seen in place of the one before.
    async open(name) {
        const page = await this.adopt(await this.context.newPage());
        if (name) await page.goto(this.url(name));
        return page;
    }

    // Another window, which is seen beside the others.
    async openWindow(name) {
        const session = await browser.target().createCDPSession();
        const { targetId } = await session.send('Target.createTarget',
            { url: 'about:blank', newWindow: true, browserContextId: this.context.id });
        const target = await this.context.waitForTarget(target => target._targetId === targetId);
        const page = await this.adopt(await target.page());
        await page.goto(this.url(name));
        return page;
    }

    // These events have come, and no other, in any order: each has a connection of its own. Returns them as they are named.
    async sent(...names) {
        await until(() => this.events.length >= names.length);
        // What has been sent before this is here before its answer.
        for (const page of this.pages) if (!page.isClosed() && !this.isCut) await page.evaluate(() => fetch('/fence'));
        const events = this.events.splice(0);
        assert.deepEqual(events.map(event => event.name).sort(), [...names].sort());
        return names.map(name => events.splice(events.findIndex(event => event.name === name), 1)[0]);
    }

    // Nothing is left in the browser, and the page's own code has seen no error.
    async end() {
        for (const page of this.pages.filter(page => !page.isClosed())) {
            assert.deepEqual(await page.evaluate(() => window.errors), []);
            if (this.isCut) continue;
            assert.deepEqual(await page.evaluate(async () => [
                document.cookie, localStorage.length, sessionStorage.length, (await indexedDB.databases()).length,
                (await caches.keys()).length, (await navigator.serviceWorker.getRegistrations()).length,
            ]), ['', 0, 0, 0, 0, 0]);
        }
        assert.deepEqual(await this.context.cookies(), []);
        assert.deepEqual(this.said.filter(said => !this.mayBeSaid?.test(said)), []);
        assert.deepEqual(wrong.splice(0), []);
    }
}

let failed = 0;
async function test(what, settings, work) {
    if (!work) [settings, work] = [{}, settings];
    const t = new Case(settings);
    try {
        t.context = await browser.createBrowserContext();
        await work(t);
        await t.end();
        console.log(`ok - ${what}`);
    } catch (error) {
        failed += 1;
        console.log(`not ok - ${what}\n${`${error.stack}`.replace(/^/gm, '#   ')}`);
    } finally {
        wrong.splice(0);
        await t.context?.close().catch(() => {});
    }
}

const pass = (page, time) => page.evaluate(time => window.pass(time), time);

// All that could be told of a page.
async function goAway(page) {
    await page.evaluate(() => history.pushState(null, '', 'b'));
    await pass(page, INTERVAL);
    await page.evaluate(() => fetch('/fence'));
    await page.close();
}

const visibility = page => page.evaluate(() => document.visibilityState);

// ---- the cases -------------------------------------------------------------------------------------------------------

async function ordinary() {
    await test('a page load, from another site', async t => {
        const page = await t.open();
        await page.goto(`${elsewhere}/${t.number}/from?secret=1`);
        await t.sent('view from', 'heartbeat from');
        const to = `${t.url('a')}?b=1#c`;
        await Promise.all([page.waitForNavigation(), page.evaluate(to => { location.href = to; }, to)]);
        const [, view, beat] = await t.sent('leave from', 'view a', 'heartbeat a');
        const common = { url: `${t.url('a')}?b=1`, host: `127.0.0.1:${port}` };
        assert.deepEqual(view, { type: 'view', referrer: `${elsewhere}/`, language: 'en-GB', name: 'view a', ...common });
        assert.deepEqual(beat, { type: 'heartbeat', name: 'heartbeat a', ...common });
    });

    await test('heartbeats, each half minute', async t => {
        const page = await t.open('a');
        await t.sent('view a', 'heartbeat a');
        await pass(page, INTERVAL - 5000);
        await t.sent();
        await pass(page, 5000);
        await t.sent('heartbeat a');
        await pass(page, INTERVAL);
        await t.sent('heartbeat a');
    });

    await test('route changes by pushState and replaceState', async t => {
        const page = await t.open('a');
        const [first] = await t.sent('view a', 'heartbeat a');
        assert.ok(!('referrer' in first), 'a page that was opened by itself has no referrer');
        const go = (how, to) => page.evaluate((how, to) => {
            const result = history[how]({ to }, '', to);
            return [history.state.to, result === undefined];
        }, how, to);
        assert.deepEqual(await go('pushState', 'b'), ['b', true]);
        const [route] = await t.sent('view b', 'heartbeat b');
        assert.ok(!('referrer' in route), 'nobody has come from another site again');
        await go('pushState', 'b');
        await go('pushState', '#part');
        await go('replaceState', '?sorted=1');
        await t.sent();
        await go('replaceState', 'c');
        await t.sent('view c', 'heartbeat c');
        await go('pushState', '?page=2');
        const [, { url }] = await t.sent('view c', 'heartbeat c');
        assert.equal(url, `${t.url('c')}?page=2`);
        // What the page did wrong it is told, as before.
        assert.equal(await page.evaluate(() => {
            try { history.pushState(null, '', 'https://other.example/'); } catch (error) { return error.name; }
        }), 'SecurityError');
        await pass(page, INTERVAL);
        await t.sent('heartbeat c');
    });

    await test('back and forward in an application', async t => {
        const page = await t.open('a');
        await t.sent('view a', 'heartbeat a');
        await page.evaluate(() => { history.pushState(null, '', 'b'); location.hash = 'part'; });
        await t.sent('view b', 'heartbeat b');
        await page.evaluate(() => history.back());
        await page.waitForFunction(() => location.hash === '');
        await t.sent();
        await page.evaluate(() => history.back());
        await t.sent('view a', 'heartbeat a');
        await page.evaluate(() => history.go(2));
        await t.sent('view b', 'heartbeat b');
    });

    await test('a page from the back/forward cache', async t => {
        const page = await t.open('a');
        await page.evaluate(() => { window.isTheSame = true; });
        await t.sent('view a', 'heartbeat a');
        await page.goto(t.url('b'));
        await t.sent('leave a', 'view b', 'heartbeat b');
        await page.goBack();
        const [again] = await t.sent('view a', 'leave b', 'heartbeat a');
        assert.ok(!('referrer' in again));
        assert.equal(await page.evaluate(() => window.isTheSame), true, 'the page has not been loaded again');
        await pass(page, INTERVAL);
        await t.sent('heartbeat a');
    });

    await test('a prerendered page counts when it is shown', async t => {
        // The page says itself how far it is, by requests.
        t.head = `<script type="speculationrules">${JSON.stringify({ prerender: [{ urls: [`/${t.number}/b`], eagerness: 'immediate' }] })}</script>
            <script>
                const tell = what => fetch('/${t.number}/told-' + what);
                if (document.prerendering) addEventListener('load', () => tell('loaded'));
                document.addEventListener('prerenderingchange', () => tell('shown'));
            </script>`;
        const page = await t.open('a');
        await t.sent('view a', 'heartbeat a');
        await until(() => t.asked.includes('told-loaded'));
        await t.sent();
        await page.evaluate(() => document.querySelector('a').click());
        await until(() => t.asked.includes('told-shown') && t.events.some(event => event.name === 'heartbeat b'));
        // Whether the page before still comes to tell that it leaves is up to the browser.
        t.events = t.events.filter(event => event.name !== 'leave a');
        t.pages = [];
        const [view] = await t.sent('view b', 'heartbeat b');
        assert.equal(view.referrer, t.url('a'));
    });

    await test('two tabs have one heartbeat, of the one that is seen', async t => {
        const first = await t.open('a');
        await t.sent('view a', 'heartbeat a');
        const second = await t.open('b');
        await t.sent('view b', 'heartbeat b');
        assert.deepEqual([await visibility(first), await visibility(second)], ['hidden', 'visible']);
        for (const page of [first, second]) await pass(page, INTERVAL);
        await t.sent('heartbeat b');
    });

    await test('two windows have one heartbeat, too, and it stays when one is closed', async t => {
        const first = await t.open('a');
        await t.sent('view a', 'heartbeat a');
        const second = await t.openWindow('b');
        await t.sent('view b');
        assert.deepEqual([await visibility(first), await visibility(second)], ['visible', 'visible']);
        for (const page of [first, second]) await pass(page, INTERVAL);
        await t.sent('heartbeat a');
        await second.evaluate(() => history.pushState(null, '', 'c'));
        await t.sent('view c');
        await first.close();
        await t.sent('leave a', 'heartbeat c');
        await pass(second, INTERVAL);
        await t.sent('heartbeat c');
    });

    await test('a hidden tab stops, and goes on when it is seen again', async t => {
        const page = await t.open('a');
        await t.sent('view a', 'heartbeat a');
        const other = await t.adopt(await t.context.newPage());
        await other.goto(`${elsewhere}/${t.number}/other`);
        await t.sent('view other', 'heartbeat other');
        assert.equal(await visibility(page), 'hidden');
        await pass(page, 1000);
        await page.bringToFront();
        await t.sent();
        await pass(page, INTERVAL - 1000);
        await t.sent('heartbeat a');
        await other.bringToFront();
        for (let n = 0; n < 5; n++) await pass(page, INTERVAL);
        await t.sent();
        await page.bringToFront();
        await t.sent('heartbeat a');
        await pass(page, INTERVAL);
        await t.sent('heartbeat a');
    });

    await test('a tab that is opened in the background', async t => {
        t.head = `<a id="new" target="_blank" href="/${t.number}/b">b</a>`;
        const page = await t.open('a');
        await t.sent('view a', 'heartbeat a');
        const opened = t.context.waitForTarget(target => target.url() === t.url('b'));
        await page.click('#new', { button: 'middle' });
        const other = await (await opened).page();
        await t.sent('view b');
        assert.equal(await visibility(other), 'hidden');
        await other.bringToFront();
        await t.sent('heartbeat b');
    });

    await test('a closed tab leaves, and another that is seen then is there at once', async t => {
        const first = await t.open('a');
        await t.sent('view a', 'heartbeat a');
        const second = await t.open('b');
        await t.sent('view b', 'heartbeat b');
        await pass(first, 5000);
        await second.close();
        await t.sent('leave b', 'heartbeat a');
        const third = await t.open('c');
        await t.sent('view c', 'heartbeat c');
        await first.close();
        await t.sent();
        await pass(third, INTERVAL);
        await t.sent('heartbeat c');
        await third.close();
        await t.sent('leave c');
    });

    await test('an address on another server, without a preflight', { script: 'elsewhere' }, async t => {
        const page = await t.open('a');
        const events = await t.sent('view a', 'heartbeat a');
        await page.close();
        events.push(...await t.sent('leave a'));
        for (const { host } of events) assert.equal(host, `localhost:${port}`);
    });

    await test('a browser without locks and channels', {
        before: () => {
            Object.defineProperty(Navigator.prototype, 'locks', { value: undefined });
            delete window.BroadcastChannel;
        },
    }, async t => {
        const first = await t.open('a');
        await t.sent('view a', 'heartbeat a');
        const second = await t.openWindow('b');
        await t.sent('view b', 'heartbeat b');
        for (const page of [first, second]) await pass(page, INTERVAL);
        await t.sent('heartbeat a', 'heartbeat b');
        await first.evaluate(() => history.pushState(null, '', 'c'));
        await t.sent('view c', 'heartbeat c');
        await first.close();
        await t.sent('leave c');
    });

    // A page of which the browser has refused so many requests, and has said so.
    const refusals = async (t, count) => {
        const refused = () => t.said.filter(said => /^(Failed to load|Connecting to)/.test(said)).length;
        await until(() => refused() >= count);
        assert.equal(refused(), count);
    };

    await test('a blocked network', { isCut: true, mayBeSaid: /^Failed to load resource: net::ERR_BLOCKED_BY_CLIENT/ }, async t => {
        const page = await t.open();
        await page.setRequestInterception(true);
        page.on('request', request => request.url().endsWith('/collect') ? request.abort('blockedbyclient') : request.continue());
        await page.goto(t.url('a'));
        await refusals(t, 2);
        await page.evaluate(() => history.pushState(null, '', 'b'));
        await refusals(t, 4);
        await pass(page, INTERVAL);
        await refusals(t, 5);
        await t.sent();
    });

    await test('a Content-Security-Policy that lets the script send nothing', {
        isCut: true,
        headers: { 'content-security-policy': "connect-src 'none'" },
        mayBeSaid: /Content Security Policy/,
    }, async t => {
        const page = await t.open('a');
        await refusals(t, 2);
        await page.evaluate(() => history.pushState(null, '', 'b'));
        await refusals(t, 4);
        await t.sent();
    });

    await test('a strict Content-Security-Policy, with a nonce', {
        headers: {
            'content-security-policy': `default-src 'none'; script-src 'nonce-${NONCE}' 'strict-dynamic'; connect-src 'self'; `
                + "img-src data:; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        },
    }, async t => {
        const page = await t.open('a');
        await t.sent('view a', 'heartbeat a');
        await page.evaluate(() => history.pushState(null, '', 'b'));
        await t.sent('view b', 'heartbeat b');
        await page.close();
        await t.sent('leave b');
    });

    await test('Global Privacy Control', {
        before: () => Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', { value: true }),
    }, async t => {
        await goAway(await t.open('a'));
        await t.sent();
    });

    await test('what comes is what receive() takes', async t => {
        const SITE = 'tracker';
        await ask("INSERT INTO site_stats.sites (name, hosts) VALUES (:'site', '{127.0.0.1}')", { site: SITE });
        const answers = [];
        let last = Promise.resolve();
        t.receive = (event, headers) => last = last.then(async () => answers.push(await ask(
            "SELECT site_stats.receive(:'event', '192.0.2.1', :'agent', 'PT')",
            { event: JSON.stringify({ ...event, site: SITE }), agent: headers['user-agent'].replace('Headless', '') },
        )));
        const stats = () => ask(`SELECT active_visitors, active_by_path, total_page_views, unique_visitors
            FROM site_stats.get_stats(:'site')`, { site: SITE });
        const page = await t.open();
        await page.goto(`${t.url('a')}?utm_source=news`);
        await t.sent('view a', 'heartbeat a');
        assert.deepEqual(answers.splice(0), ['recorded', 'recorded']);
        await page.evaluate(() => history.pushState(null, '', 'b'));
        await t.sent('view b', 'heartbeat b');
        await pass(page, INTERVAL);
        await t.sent('heartbeat b');
        assert.deepEqual(answers.splice(0), ['recorded', 'recorded', 'duplicate']);
        assert.equal(await stats(), `1|[{"path": "/${t.number}/b", "count": 1}]|2|1`);
        assert.equal(await ask(`SELECT v.path, o.source, c.browser, c.country, c.language
            FROM site_stats.page_views AS v
            JOIN site_stats.clients AS c ON c.id = v.client_id
            LEFT JOIN site_stats.origins AS o ON o.id = v.origin_id
            WHERE v.site_id = site_stats.site_id(:'site')
            ORDER BY v.id`, { site: SITE }), `/${t.number}/a|news|Chrome|PT|en-GB\n/${t.number}/b||Chrome|PT|en-GB`);
        await page.close();
        await t.sent('leave b');
        assert.deepEqual(answers.splice(0), ['recorded']);
        assert.equal(await stats(), '0|[]|2|1');
        assert.equal(await ask('SELECT * FROM site_stats.check_totals()'), '');
    });
}

async function withoutStorage() {
    await test('blocked storage', { isCut: true }, async t => {
        const page = await t.open('a');
        assert.equal(await page.evaluate(() => {
            try { return typeof localStorage.length; } catch (error) { return error.name; }
        }), 'SecurityError');
        assert.equal(await page.evaluate(() => navigator.locks.request('', () => '').catch(error => error.name)), 'SecurityError');
        await t.sent('view a', 'heartbeat a');
        await page.evaluate(() => history.pushState(null, '', 'b'));
        await t.sent('view b', 'heartbeat b');
        await page.close();
        await t.sent('leave b');
    });
}

async function notToBeTracked() {
    await test('Do Not Track', async t => {
        const page = await t.open('a');
        assert.equal(await page.evaluate(() => navigator.doNotTrack), '1');
        await goAway(page);
        await t.sent();
    });
}

try {
    for (const [name, endpoint] of [['here', '/collect'], ['elsewhere', `${elsewhere}/collect`]]) {
        scripts[name] = await ask("SELECT site_stats.tracker(:'endpoint')", { endpoint });
    }
    for (const [preferences, work] of [
        [{}, ordinary],
        [{ profile: { default_content_setting_values: { cookies: 2 } } }, withoutStorage],
        [{ enable_do_not_track: true }, notToBeTracked],
    ]) {
        browser = await launch(preferences);
        await work();
        await browser.close();
        browser = null;
    }
} finally {
    await browser?.close();
    server.closeAllConnections();
    server.close();
    for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
process.exitCode = failed ? 1 : 0;
