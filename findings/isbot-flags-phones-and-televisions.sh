#!/usr/bin/env bash
# Guess:     isbot knows that phones may have "bot" in their names (its pattern excuses CUBOT): it takes no phone or television for one.
# Versions:  npm isbot 5.2.3.
# Behaviour: only CUBOT is excused. The phones "M bot", "VR BOT", "B BOT" and "ID bot" are bots, and so is each HTC Radar, for the
#            word "radar". A Sony or LG television with Google TV is one too: "google" is excused before some words, among them
#            " pixel", and "TV" is not one.
# Seen:      see `expected` below: the word that made it a bot, or "-".
# Concerns:  who drops page views by isbot, or takes it for the truth when a list of bots is measured: a person with such a device is
#            not counted, however often they come, and one with the same browser on another model is.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --prefix . isbot@5.2.3 >&2

cat > devices.mjs <<'EOF'
import { isbot, isbotMatch } from 'isbot'

const phone = (version, model) =>
  `Mozilla/5.0 (Linux; Android ${version}; ${model}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/100.0.0.0 Mobile Safari/537.36`
const windowsPhone = model => `Mozilla/5.0 (compatible; MSIE 9.0; Windows Phone OS 7.5; Trident/5.0; IEMobile/9.0; ${model})`
const television = model =>
  `Mozilla/5.0 (Linux; GoogleTV 3.2; ${model} Build/MASTER) AppleWebKit/534.24 (KHTML, like Gecko) Chrome/11.0.696.77 Safari/534.24`

const devices = {
  'CUBOT_X30': phone('10', 'CUBOT_X30'),
  'SM-A505F': phone('10', 'SM-A505F'),
  'M bot 60': phone('7.0', 'M bot 60'),
  'VR BOT 552': phone('6.0', 'VR BOT 552'),
  'B BOT 550': phone('6.0', 'B BOT 550'),
  'ID bot 53': phone('7.0', 'ID bot 53'),
  'HTC Titan': windowsPhone('HTC; TITAN X310e'),
  'HTC Radar': windowsPhone('HTC; Radar C110e'),
  'Google Pixel 6': phone('12', 'Google Pixel 6'),
  'Sony with Google TV': television('NSZ-GS7/GX70'),
  'LG with Google TV': television('LG Google TV'),
}
for (const [name, agent] of Object.entries(devices)) {
  if (isbot(agent) !== (isbotMatch(agent) !== null)) throw new Error(`isbot and isbotMatch differ on ${name}`)
  console.log(`${name}: ${isbotMatch(agent) ?? '-'}`)
}
EOF

expected='CUBOT_X30: -
SM-A505F: -
M bot 60: bot
VR BOT 552: BOT
B BOT 550: BOT
ID bot 53: bot
HTC Titan: -
HTC Radar: Radar
Google Pixel 6: -
Sony with Google TV: Google
LG with Google TV: Google'

seen=$(node devices.mjs)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
