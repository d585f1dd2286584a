# GET /tracker.js and POST /collect for Ruby, with the gem pg: a Rack application.
require 'ipaddr'
require 'json'
require 'pg'

PROXIES = ['127.0.0.1', '::1'].freeze # your own: only they may say who the visitor is

# Each thread has a connection, and makes it again if it was lost. PGHOST, PGDATABASE and PGUSER=site_web are in the
# environment.
def ask(statement, parameters)
  known = Thread.current[:db]
  (known || Thread.current[:db] = PG.connect).exec_params(statement, parameters)
rescue PG::ConnectionBad, PG::UnableToSend, PG::AdminShutdown
  Thread.current[:db] = nil
  known ? retry : raise
end

def collect(request)
  return 204 if request.values_at('HTTP_SEC_PURPOSE', 'HTTP_PURPOSE', 'HTTP_X_MOZ').join.include?('prefetch')

  peer = request['REMOTE_ADDR']
  chain = [*request['HTTP_X_FORWARDED_FOR'].to_s.split(',').map(&:strip), peer]
  address = IPAddr.new((chain - PROXIES).last || peer).to_s
  country = request['HTTP_X_COUNTRY'] if PROXIES.include?(peer)
  event = Hash(JSON.parse(request['rack.input'].read(16_384).to_s))
  event = event.slice('type', 'url', 'referrer', 'language') # a visitor may say no more
  ask('SELECT site_stats.receive($1, $2, $3, $4)',
      [JSON.generate(event), address, request['HTTP_USER_AGENT'].to_s, country])
  204
rescue JSON::JSONError, TypeError, IPAddr::Error, PG::DataException, PG::ProgramLimitExceeded
  400
end

def tracker
  script = ask('SELECT site_stats.tracker($1)', ['/collect']).getvalue(0, 0)
  [200, { 'content-type' => 'text/javascript', 'cache-control' => 'max-age=3600' }, [script]]
end

run ->(request) { request['REQUEST_METHOD'] == 'GET' ? tracker : [collect(request), {}, []] }
