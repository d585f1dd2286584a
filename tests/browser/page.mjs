// Looks at statistics pages in Chromium, or takes pictures of them.
//
//     node tests/browser/page.mjs PACKAGES PAGES            tests each page of the folder PAGES, in light, in dark and on a phone
//     node tests/browser/page.mjs PACKAGES PAGES PICTURES   writes pictures into the folder PICTURES
//
// PACKAGES is a folder with puppeteer-core and axe-core. CHROMIUM names the browser; by default it is that of Debian.

import { readFileSync, readdirSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';

const [packages, pages, pictures] = process.argv.slice(2);
const require = createRequire(path.resolve(packages, 'node_modules', 'x.js'));
const puppeteer = require('puppeteer-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const MOST_BYTES = 100_000;
const NONCE = 'c2l0ZS1zdGF0cw==';
const PHONE = { width: 360, height: 740, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const DESKTOP = { width: 1280, height: 900 };
const LOOKS = [
    { name: 'light', scheme: 'light', viewport: DESKTOP },
    { name: 'dark', scheme: 'dark', viewport: DESKTOP },
    { name: 'phone', scheme: 'light', viewport: PHONE },
    { name: 'phone, dark', scheme: 'dark', viewport: PHONE },
];

// As a backend serves them: the page at the path of its name, and live numbers beside it. The policy of the server knows the nonce.
const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname === '/events') {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        return response.write('data: {"visitors": 4321}\n\n');
    }
    const name = pathname.slice(1);
    const file = readdirSync(pages).find(file => file === `${name}.html`);
    response.writeHead(file ? 200 : 404, {
        'content-type': 'text/html; charset=utf-8',
        ...(name === 'live' && {
            'content-security-policy':
                `default-src 'none'; style-src 'nonce-${NONCE}'; script-src 'nonce-${NONCE}'; connect-src 'self'; img-src data:`,
        }),
    });
    response.end(file && readFileSync(path.join(pages, file)));
});
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--font-render-hinting=none'],
});

// Opens a page in a look. Calls back with it, what it has said and what it has asked for.
async function look(name, { scheme, viewport }, work) {
    const page = await browser.newPage();
    const said = [];
    const asked = [];
    page.on('console', message => said.push(`console: ${message.text()}`));
    page.on('pageerror', error => said.push(`error: ${error}`));
    page.on('dialog', dialog => { said.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
    page.on('request', request => asked.push(request.url()));
    await page.setViewport(viewport);
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.goto(`${origin}/${name}`, { waitUntil: 'load' });
    const result = await work(page, said, asked);
    await page.close();
    return result;
}

async function faults(name, bytes, at) {
    return look(name, at, async (page, said, asked) => {
        const found = [];
        if (name === 'live') {
            await page.waitForFunction(() => document.getElementById('now').textContent === '4,321', { timeout: 5000 })
                .catch(() => found.push('the live number does not come'));
        }
        await page.evaluate(axe);
        // The table behind the chart is looked at, too.
        await page.evaluate(() => document.querySelectorAll('details').forEach(details => { details.open = true; }));
        const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
        for (const { id, help, nodes } of violations) {
            found.push(`axe: ${id}: ${help}: ${nodes.slice(0, 3).map(node => node.html).join(' ')}`);
        }
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (wider > 0) found.push(`it is ${wider} pixels wider than the window`);
        await page.keyboard.press('Tab');
        const first = await page.evaluate(() => document.activeElement.className);
        if (first !== 'skip') found.push(`the first key press goes to "${first}"`);
        const elsewhere = asked.filter(url => !url.startsWith('data:') && ![`${origin}/${name}`, `${origin}/events`].includes(url));
        if (elsewhere.length) found.push(`it asks for ${elsewhere.join(' ')}`);
        if (asked.includes(`${origin}/events`) !== (name === 'live')) found.push('it asks for live numbers, or does not');
        if (bytes > MOST_BYTES) found.push(`it has ${bytes} bytes`);
        return [...found, ...said];
    });
}

// Without JavaScript everything is there, but for the live number.
async function missing(name) {
    const page = await browser.newPage();
    await page.setJavaScriptEnabled(false);
    await page.goto(`${origin}/${name}`, { waitUntil: 'load' });
    const html = await page.content();
    await page.close();
    return ['<h1>', 'class="cards"', 'here now'].filter(part => !html.includes(part)).map(part => `without JavaScript there is no ${part}`);
}

async function picture(file, name, look_, height) {
    await look(name, look_, async page => {
        const viewport = { ...look_.viewport, height };
        await page.setViewport(viewport);
        await page.screenshot({ path: path.join(pictures, file), type: 'webp', quality: 82 });
    });
    console.log(`${file} ${readFileSync(path.join(pictures, file)).length} bytes`);
}

let failed = 0;
try {
    if (pictures) {
        const [light, dark, phone] = LOOKS;
        await picture('page.webp', 'full', light, 1400);
        await picture('page-dark.webp', 'full', dark, 1000);
        await picture('page-filtered.webp', 'filtered', light, 1000);
        await picture('page-empty.webp', 'new', light, 640);
        await picture('page-phone.webp', 'full', { ...phone, viewport: { ...PHONE, deviceScaleFactor: 1.5 } }, 900);
    } else {
        const names = readdirSync(pages).filter(file => file.endsWith('.html')).map(file => path.basename(file, '.html')).sort();
        if (!names.length) throw new Error(`there is no page in ${pages}`);
        for (const name of names) {
            const bytes = readFileSync(path.join(pages, `${name}.html`)).length;
            const all = await missing(name);
            for (const at of LOOKS) all.push(...(await faults(name, bytes, at)).map(fault => `${at.name}: ${fault}`));
            console.log(`${all.length ? 'not ok' : 'ok'} - ${name}, ${(bytes / 1000).toFixed(1)} kB`);
            all.forEach(fault => console.log(`#   ${fault}`));
            failed += all.length ? 1 : 0;
        }
    }
} finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
}
process.exitCode = failed ? 1 : 0;
