# GET /tracker.js and POST /collect for Python, with the package psycopg[binary,pool]: a WSGI application.
from http import HTTPStatus
from ipaddress import ip_address
import json

import psycopg
from psycopg_pool import ConnectionPool

PROXIES = ("127.0.0.1", "::1")  # your own: only they may say who the visitor is
# PGHOST, PGDATABASE and PGUSER=site_web are in the environment.
db = ConnectionPool(kwargs={"autocommit": True}, check=ConnectionPool.check_connection, open=True)


def collect(request):
    if any("prefetch" in request.get(why, "") for why in ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_MOZ")):
        return HTTPStatus.NO_CONTENT
    peer = request["REMOTE_ADDR"]
    chain = [address.strip() for address in request.get("HTTP_X_FORWARDED_FOR", peer).split(",")] + [peer]
    address = next((address for address in reversed(chain) if address not in PROXIES), peer)
    country = request.get("HTTP_X_COUNTRY") if peer in PROXIES else None
    try:
        event = json.loads(request["wsgi.input"].read(min(int(request.get("CONTENT_LENGTH") or 0), 16384)))
        event = {key: event[key] for key in ("type", "url", "referrer", "language") if key in event}  # and no more
        with db.connection() as connection:
            connection.execute("SELECT site_stats.receive(%s, %s, %s, %s)",  # psycopg makes these $1 to $4
                               (json.dumps(event), ip_address(address), request.get("HTTP_USER_AGENT", ""), country))
        return HTTPStatus.NO_CONTENT
    except (ValueError, TypeError, RecursionError, psycopg.DataError, psycopg.errors.ProgramLimitExceeded):
        return HTTPStatus.BAD_REQUEST


def tracker():
    with db.connection() as connection:
        return connection.execute("SELECT site_stats.tracker(%s)", ("/collect",)).fetchone()[0]


def application(request, start_response):
    if request["REQUEST_METHOD"] == "GET":
        script = tracker().encode()
        start_response("200 OK", [("Content-Type", "text/javascript"), ("Cache-Control", "max-age=3600")])
        return [script]
    status = collect(request)
    start_response(f"{status.value} {status.phrase}", [])
    return []
