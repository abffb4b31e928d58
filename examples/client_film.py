"""Puts one person's face into a film, through `likeness.Client`; Ctrl-C cancels.

    python examples/client_film.py --source me.jpg --source me_from_the_side.jpg --target film.mp4 --out swapped.mp4 \
        --who "Ann Example" [--start 2] [--end 10]

Only with the agreement of the person in the source pictures: you attest it.
"""

import argparse
import os
from pathlib import Path

import likeness


def show(progress: likeness.Progress) -> None:
    if progress.frames_total:
        print(f"{progress.phase}: {progress.frames_done} of {progress.frames_total} frames")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, action="append", required=True, help="may be given several times")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out/client.mp4"))
    parser.add_argument("--who", required=True, help="who is in the source pictures")
    parser.add_argument("--start", type=float, help="second")
    parser.add_argument("--end", type=float, help="second")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)

    with likeness.Client(os.environ.get("LIKENESS_URL", "http://127.0.0.1:8000")) as client:
        consent = client.face_consents.create(
            who=arguments.who, kind="attested", attested_by=os.environ.get("USER", "me"), evidence="asked in person"
        )
        face = client.faces.enrol(arguments.source, consent=consent.id)
        job = client.swaps.create(face=face.id, target=arguments.target, start_s=arguments.start, end_s=arguments.end)
        try:
            job.wait(on_progress=show)
        except KeyboardInterrupt:
            print(job.cancel().status)
            return
        except likeness.LikenessJobError as error:
            raise SystemExit(str(error)) from error
        job.save(arguments.out)
        (person,) = job.figures["people"]
        print(f"{arguments.out}: swapped in {person['frames_swapped']} of {job.figures['frames']} frames")


if __name__ == "__main__":
    main()
