#!/usr/bin/env bash
# Guess:     is_crawler(agent, case_sensitive=False) of PyPI crawler-user-agents finds whatever is_crawler(agent) finds, and more.
# Versions:  PyPI crawler-user-agents 1.67.0.
# Behaviour: without case it takes the agent in lower case and the PATTERNS too, as text. So \S becomes \s: the three patterns with
#            [\s\S]* then allow nothing but spaces in between, and no longer match the agents that the package itself lists for them.
#            The same patterns compiled with re.IGNORECASE match.
# Seen:      see `expected` below: with case, without case, by re.IGNORECASE.
# Concerns:  who counts visitors and asks without case because a proxy or a log writes agents in lower case: three crawlers become
#            people. Who takes the patterns into another language should not lower them either.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check crawler-user-agents==1.67.0 >&2

cat > "$folder/ask.py" <<'EOF'
import re

import crawleruseragents as package

crawlers = package.CRAWLER_USER_AGENTS_DATA
agents = [(crawler['pattern'], agent) for crawler in crawlers for agent in crawler['instances']]
print(f'{len(crawlers)} patterns, {len(agents)} agents')
for pattern, agent in agents:
    with_case, without_case = package.is_crawler(agent), package.is_crawler(agent, case_sensitive=False)
    if not (with_case and without_case):
        ignoring_case = any(re.search(crawler['pattern'], agent, re.IGNORECASE) for crawler in crawlers)
        print(pattern, with_case, without_case, ignoring_case)
EOF

expected='1504 patterns, 2123 agents
ContextualBot[\s\S]*outcomes\.net True False True
Current[\s\S]*RSS Reader True False True
Spider[\s\S]*spider\.com True False True'

seen=$("$folder/venv/bin/python" "$folder/ask.py")
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
