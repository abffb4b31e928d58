#!/bin/sh
# Consent, enrolment, speech: the HTTP API with nothing but curl.
#   sh examples/curl.sh [OUT.mp3]
set -eu
url="${LIKENESS_URL:-http://127.0.0.1:8000}"
out="${1:-out/curl.mp3}"
persona="$(dirname "$0")/persona/persona.flac"
mkdir -p "$(dirname "$out")"

# Takes the value of "id" out of a JSON object.
id_of() { sed -n 's/^.*"id": *"\([^"]*\)".*$/\1/p' | head -n 1; }

consent=$(curl --fail-with-body --silent --show-error "$url/v1/audio/voice_consents" \
  --json '{"who": "Juniper", "kind": "synthetic", "evidence": "examples/persona/README.md"}' | tr -d '\n' | id_of)
echo "consent $consent"

voice=$(curl --fail-with-body --silent --show-error "$url/v1/audio/voices" \
  --form "name=juniper of $consent" --form "consent=$consent" --form "audio_sample=@$persona" | tr -d '\n' | id_of)
echo "voice $voice"

curl --fail-with-body --silent --show-error "$url/v1/audio/speech" --output "$out" --dump-header - \
  --json "{\"input\": \"Good morning from the command line.\", \"voice\": \"$voice\"}" | grep -i '^x-likeness'
echo "$out"
