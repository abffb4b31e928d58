"""Puts the face of one picture into another, through `likeness.Client`.

    python examples/client_swap.py --source me.jpg --target film.png --out swapped.png --who "Ann Example"

Only with the agreement of the person in the source picture: you attest it.
"""

import argparse
import os
from pathlib import Path

import likeness


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out/client.png"))
    parser.add_argument("--who", required=True, help="who is in the source picture")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)

    with likeness.Client(os.environ.get("LIKENESS_URL", "http://127.0.0.1:8000")) as client:
        consent = client.face_consents.create(
            who=arguments.who, kind="attested", attested_by=os.environ.get("USER", "me"), evidence="asked in person"
        )
        face = client.faces.enrol(arguments.source, consent=consent.id)
        swap = client.swap(face=face.id, target=arguments.target, selection="all")
        arguments.out.write_bytes(swap.picture)
        for number, swapped in enumerate(swap.faces, start=1):
            print(f"face {number}: distance to source {swapped['distance_to_source']}, below 0.6 is the same person")
        print(arguments.out)


if __name__ == "__main__":
    main()
