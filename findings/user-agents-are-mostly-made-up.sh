#!/usr/bin/env bash
# Guess:     npm user-agents says that it gives user agents as often as they are met in the wild. So its 10,000 rows are thousands of
#            texts, nearly all of them sent by real browsers.
# Versions:  npm user-agents 2.1.198.
# Behaviour: the rows have 952 texts. 614 of them (64 %) are four texts with another version of Chrome in each: a Pixel 2, a Nexus 5, a
#            Galaxy S5 and an iPhone with iOS 11, with Chrome 39 to 60. No other row has any of these versions, and within Chrome 60
#            the third number, which a release has one of, takes 25 values. All 614 are of one kind of machine: platform
#            "Linux x86_64", vendor "Google Inc.", a screen of 375 x 812, "en-US". It looks as if a program that makes its user agent
#            up for each visit was taken for 614 browsers.
# Seen:      see `expected` below.
# Concerns:  who measures a parser or a list of bots on the distinct texts of this package: two thirds of them say nothing about
#            browsers, and Firefox (17 texts) and Edge (6) hardly count.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --prefix . user-agents@2.1.198 >&2

cat > count.mjs <<'EOF'
import { readFileSync } from 'node:fs'

const rows = JSON.parse(readFileSync('node_modules/user-agents/dist/user-agents.json'))
const count = values => new Set(values).size
const templates = {
  'Pixel 2': 'Linux; Android 8.0; Pixel 2 Build/OPD3.170816.012',
  'Nexus 5': 'Linux; Android 6.0; Nexus 5 Build/MRA58N',
  'Galaxy S5': 'Linux; Android 5.0; SM-G900P Build/LRX21T',
  'iPhone': 'iPhone; CPU iPhone OS 11_0 like Mac OS X',
}
const versionOf = row => /Chrome\/([\d.]+) Mobile/.exec(row.userAgent)?.[1]

console.log(`rows: ${rows.length}, texts: ${count(rows.map(row => row.userAgent))}`)
const madeUp = []
for (const [name, system] of Object.entries(templates)) {
  const ofDevice = rows.filter(row => row.userAgent.startsWith(`Mozilla/5.0 (${system}) `) && versionOf(row))
  madeUp.push(...ofDevice)
  console.log(`${name}: ${count(ofDevice.map(row => row.userAgent))} texts`)
}
const majors = madeUp.map(row => parseInt(versionOf(row), 10))
console.log(`together: ${count(madeUp.map(row => row.userAgent))} texts, ${count(madeUp.map(versionOf))} builds of Chrome ` +
  `${Math.min(...majors)} to ${Math.max(...majors)}`)
console.log(`builds that another row has: ${rows.filter(row => !madeUp.includes(row) && madeUp.some(other =>
  row.userAgent.includes(`Chrome/${versionOf(other)} `))).length}`)
const machines = madeUp.map(row => [row.platform, row.vendor, `${row.screenWidth} x ${row.screenHeight}`, row.language].join(', '))
console.log(`machines: ${[...new Set(machines)].join(' | ')}`)
const inRest = name => count(rows.filter(row => !madeUp.includes(row) && row.userAgent.includes(name)).map(row => row.userAgent))
const buildsOf60 = madeUp.map(versionOf).filter(version => version.startsWith('60.')).map(version => version.split('.')[2])
console.log(`third numbers of Chrome 60: ${count(buildsOf60)}, from ${Math.min(...buildsOf60)} to ${Math.max(...buildsOf60)}`)
console.log(`of the other texts, with Firefox/: ${inRest('Firefox/')}, with Edg/: ${inRest('Edg/')}`)
EOF

expected='rows: 10000, texts: 952
Pixel 2: 158 texts
Nexus 5: 155 texts
Galaxy S5: 150 texts
iPhone: 151 texts
together: 614 texts, 614 builds of Chrome 39 to 60
builds that another row has: 0
machines: Linux x86_64, Google Inc., 375 x 812, en-US
third numbers of Chrome 60: 25, from 1046 to 9766
of the other texts, with Firefox/: 17, with Edg/: 6'

seen=$(node count.mjs)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
