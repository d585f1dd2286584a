<?php // GET /tracker.js and POST /collect for PHP, with its extension pgsql.
const PROXIES = ['127.0.0.1', '::1']; // your own: only they may say who the visitor is

function collect(): int
{
    $prefetch = array_intersect_key($_SERVER, array_flip(['HTTP_SEC_PURPOSE', 'HTTP_PURPOSE', 'HTTP_X_MOZ']));
    if (str_contains(implode(' ', $prefetch), 'prefetch')) return 204;
    $peer = $_SERVER['REMOTE_ADDR'];
    $chain = [...array_map('trim', explode(',', $_SERVER['HTTP_X_FORWARDED_FOR'] ?? $peer)), $peer];
    $others = array_diff($chain, PROXIES);
    $address = filter_var(end($others) ?: $peer, FILTER_VALIDATE_IP);
    $country = in_array($peer, PROXIES) ? $_SERVER['HTTP_X_COUNTRY'] ?? null : null;
    $event = json_decode(file_get_contents('php://input', length: 16384), true);
    if (!$address || !is_array($event)) return 400;
    $event = array_intersect_key($event, array_flip(['type', 'url', 'referrer', 'language'])); // a visitor may say no more
    $db = pg_pconnect(''); // PGHOST, PGDATABASE and PGUSER=site_web are in the environment
    pg_send_query_params($db, 'SELECT site_stats.receive($1, $2, $3, $4)',
        [json_encode($event), $address, $_SERVER['HTTP_USER_AGENT'] ?? '', $country]);
    $error = pg_result_error_field(pg_get_result($db), PGSQL_DIAG_SQLSTATE);
    return !$error ? 204 : (preg_match('/^(22|54)/', $error) ? 400 : 500);
}

function tracker(): string
{
    $db = pg_pconnect('');
    return pg_fetch_result(pg_query_params($db, 'SELECT site_stats.tracker($1)', ['/collect']), 0);
}

if ($_SERVER['REQUEST_METHOD'] === 'GET') {
    $script = tracker();
    header('Content-Type: text/javascript');
    header('Cache-Control: max-age=3600');
    echo $script;
} else {
    http_response_code(collect());
}
