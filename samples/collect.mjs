// GET /tracker.js and POST /collect for Node.js, with the package pg.
import http from 'node:http';
import { isIP } from 'node:net';
import { text } from 'node:stream/consumers';
import pg from 'pg';

const proxies = ['127.0.0.1', '::1']; // your own: only they may say who the visitor is
const db = new pg.Pool(); // PGHOST, PGDATABASE and PGUSER=site_web are in the environment
db.on('error', error => console.error(error.message)); // a connection of the pool was lost

async function collect(request) {
    const { headers, socket } = request;
    if ([headers['sec-purpose'], headers.purpose, headers['x-moz']].some(why => why?.includes('prefetch'))) return 204;
    if (!(headers['content-length'] <= 16384)) return 413;
    const peer = socket.remoteAddress?.replace('::ffff:', '');
    const chain = [...(headers['x-forwarded-for']?.split(',') ?? []).map(address => address.trim()), peer];
    const address = chain.findLast(address => !proxies.includes(address)) ?? peer;
    const country = proxies.includes(peer) ? headers['x-country'] : null;
    if (!isIP(address)) return 400;
    try {
        const { type, url, referrer, language } = JSON.parse(await text(request)) ?? {}; // a visitor may say no more
        const event = JSON.stringify({ type, url, referrer, language });
        await db.query('SELECT site_stats.receive($1, $2, $3, $4)',
            [event, address, headers['user-agent'] ?? '', country]);
        return 204;
    } catch (error) {
        return error instanceof SyntaxError || /^(22|54)/.test(error.code) ? 400 : 500;
    }
}

async function tracker(response) {
    try {
        const { rows } = await db.query('SELECT site_stats.tracker($1) AS script', ['/collect']);
        response.writeHead(200, { 'content-type': 'text/javascript', 'cache-control': 'max-age=3600' }).end(rows[0].script);
    } catch {
        response.writeHead(500).end();
    }
}

http.createServer(async (request, response) => {
    if (request.method === 'GET' && request.url === '/tracker.js') return tracker(response);
    const isOurs = request.method === 'POST' && request.url === '/collect';
    response.writeHead(isOurs ? await collect(request) : 404).end();
}).listen(process.env.PORT ?? 8000);
