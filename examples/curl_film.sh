#!/bin/sh
# A face into a film with nothing but curl: consent, enrolment, the job, its progress, the result.
#   sh examples/curl_film.sh FACE.jpg FILM.mp4 WHO [OUT.mp4]
# Only with the agreement of the person in the picture: you attest it.
set -eu
url="${LIKENESS_URL:-http://127.0.0.1:8000}"
picture="$1"
film="$2"
who="$3"
out="${4:-out/curl_film.mp4}"
mkdir -p "$(dirname "$out")"

ask() { curl --fail-with-body --silent --show-error "$@" | tr -d '\n'; }
# Takes the first value of a name out of a JSON object.
value_of() { sed -n "s/^{[^{]*\"$1\": *\"\([^\"]*\)\".*$/\1/p"; }

consent=$(ask "$url/v1/face_consents" \
  --json "{\"who\": \"$who\", \"kind\": \"attested\", \"attested_by\": \"${USER:-me}\", \"evidence\": \"asked in person\"}" |
  value_of id)
face=$(ask "$url/v1/faces" --form "consent=$consent" --form "picture=@$picture" | value_of id)
swap=$(ask "$url/v1/swaps" --form "face=$face" --form "target=@$film" | value_of id)
echo "swap $swap; to stop it: curl -X POST $url/v1/swaps/$swap/cancel"

while :; do
  answer=$(ask "$url/v1/swaps/$swap")
  status=$(echo "$answer" | value_of status)
  echo "$status $(echo "$answer" | sed -n 's/^.*"frames_done": *\([0-9]*\), *"frames_total": *\([0-9]*\).*$/\1 of \2 frames/p')"
  case "$status" in queued | processing) ;; *) break ;; esac
  sleep 1
done
if [ "$status" != succeeded ]; then
  echo "$answer" >&2
  exit 1
fi
curl --fail-with-body --silent --show-error "$url$(echo "$answer" | sed -n 's/^.*"media_url": *"\([^"]*\)".*$/\1/p')" --output "$out"
echo "$out"
