"""The command: `python3 models/trials --root DIR`. See README.md."""

import argparse
import hashlib
from pathlib import Path

import numpy as np

from .look import Looker

MODELS = Path(__file__).resolve().parent.parent
FPIR = 0.01


def held_back(name):
    """The half of the people on which ways are compared; whoever tunes something tunes it on the
    other half."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def unit(v):
    return v / np.linalg.norm(v)


def fused(vectors, weights=None):
    """The direction of the (weighted) mean."""
    return unit(np.average(vectors, axis=0, weights=weights))


def flip(view):
    return unit(view.plain + view.mirrored)


# One photograph enrolled, one as probe: (name, template of the enrolled view, template of the
# probe).
ONE = (
    ("as it comes", lambda v: v.plain, lambda v: v.plain),
    ("mirror image averaged in, enrolment only", flip, lambda v: v.plain),
    ("mirror image averaged in, both", flip, flip),
    ("landmarks refined by a second look, both", lambda v: v.refined, lambda v: v.refined),
)
# Several photographs enrolled: (name, list of an entry's templates); the score is the largest.
SEVERAL = (
    ("one photograph", lambda vs: [vs[0].plain]),
    ("one photograph, mirror image averaged in", lambda vs: [flip(vs[0])]),
    ("kept apart, largest score", lambda vs: [v.plain for v in vs]),
    ("fused", lambda vs: [fused([v.plain for v in vs])]),
    ("fused, mirror images too", lambda vs: [fused([flip(v) for v in vs])]),
    ("kept apart and fused", lambda vs: [*(v.plain for v in vs), fused([v.plain for v in vs])]),
)
# Several views as probe: (name, list of probes); the score is the largest.
TRACK = (
    ("first view", lambda vs: [vs[0].plain]),
    ("view with the best score of the detector", lambda vs: [max(vs, key=lambda v: v.score).plain]),
    ("view with the longest embedding", lambda vs: [max(vs, key=lambda v: v.length).plain]),
    ("every view, largest similarity", lambda vs: [v.plain for v in vs]),
    ("fused", lambda vs: [fused([v.plain for v in vs])]),
    (
        "fused, weighted by the detector's score",
        lambda vs: [fused([v.plain for v in vs], [v.score for v in vs])],
    ),
    (
        "fused, weighted by the embedding's length",
        lambda vs: [fused([v.plain for v in vs], [v.length for v in vs])],
    ),
)


def misses(gallery, mated, strangers):
    """(missed, mated probes) at FPIR .01: rank-1 and threshold. `gallery` [entries][templates];
    `mated` [(entry, probes)]; `strangers` [probes]."""
    owner = np.concatenate([[i] * len(t) for i, t in enumerate(gallery)])
    templates = np.concatenate([np.stack(t) for t in gallery])

    def best(probes):
        scores = (np.stack(probes) @ templates.T).max(axis=0)
        return owner[scores.argmax()], scores.max()

    false = np.sort([best(probes)[1] for probes in strangers])[::-1]
    threshold = false[int(FPIR * len(false))]
    found = [best(probes) for _, probes in mated]
    hits = sum(
        who == entry and score > threshold
        for (entry, _), (who, score) in zip(mated, found, strict=True)
    )
    return len(mated) - hits, len(mated)


def one(people, rng):
    """Misses of every way of ONE in one draw: a photograph a person enrolled, the others as
    probes."""
    mated = {name: rng.permutation(len(views)) for name, views in people.items() if len(views) > 1}
    strangers = [
        views[rng.integers(len(views))] for name, views in people.items() if name not in mated
    ]
    counts = []
    for _, enrol, probe in ONE:
        gallery = [[enrol(people[name][order[0]])] for name, order in mated.items()]
        probes = [
            (i, [probe(people[n][k])])
            for i, (n, order) in enumerate(mated.items())
            for k in order[1:6]
        ]
        counts.append(misses(gallery, probes, [[probe(v)] for v in strangers]))
    return counts


def several(people, rng, enrolled=3):
    """The same for SEVERAL, with three photographs a person."""
    mated = {
        name: rng.permutation(len(views)) for name, views in people.items() if len(views) > enrolled
    }
    strangers = [
        [views[rng.integers(len(views))].plain]
        for name, views in people.items()
        if name not in mated
    ]
    counts = []
    for _, enrol in SEVERAL:
        gallery = [
            enrol([people[name][k] for k in order[:enrolled]]) for name, order in mated.items()
        ]
        rest = [
            (i, [people[n][k].plain])
            for i, (n, o) in enumerate(mated.items())
            for k in o[enrolled : enrolled + 5]
        ]
        counts.append(misses(gallery, rest, strangers))
    return counts


def track(people, rng, views_of=3):
    """The same for TRACK: one photograph enrolled; every probe is three photographs of a person, as
    a track's best views."""
    mated = {
        name: rng.permutation(len(views)) for name, views in people.items() if len(views) > views_of
    }
    others = [views for name, views in people.items() if name not in mated]
    # Strangers' tracks need three views as well; where a person has fewer, the same view counts
    # again.
    strangers = [[views[k % len(views)] for k in rng.permutation(views_of)] for views in others]
    counts = []
    for _, join in TRACK:
        gallery = [[people[name][order[0]].plain] for name, order in mated.items()]
        probes = [
            (i, join([people[name][k] for k in order[1 : 1 + views_of]]))
            for i, (name, order) in enumerate(mated.items())
        ]
        counts.append(misses(gallery, probes, [join(vs) for vs in strangers]))
    return counts


def table(title, ways, trial, people, draws):
    """Prints the miss rate of each way over the same draws, and its difference to the first with
    the spread of that."""
    rates = []
    for seed in range(draws):
        counts = trial(people, np.random.default_rng(seed))
        rates.append([missed / of for missed, of in counts])
        probes = counts[0][1]
    rates = np.array(rates) * 100
    print(f"\n{title}: FNIR at FPIR {FPIR}, {draws} draws of {probes} mated probes")
    for i, way in enumerate(ways):
        change = rates[:, i] - rates[:, 0]
        print(
            f"  {way[0]:45s} {rates[:, i].mean():5.2f} %   {change.mean():+.2f} points (sd "
            f"{change.std():.2f})"
        )


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python3 models/trials", description="Compares ways of making templates."
    )
    parser.add_argument(
        "--root", type=Path, required=True, help="folder with a folder of photographs a person"
    )
    parser.add_argument(
        "--models", type=Path, default=MODELS, help="folder of the networks (default: models/)"
    )
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args(argv)
    looker, people, failed = Looker(options.models), {}, 0
    for folder in sorted(p for p in options.root.iterdir() if p.is_dir() and held_back(p.name)):
        views = [
            looker.look(path, refine=True)
            for path in sorted(folder.iterdir())
            if path.suffix in (".jpg", ".png")
        ]
        failed += sum(v is None for v in views)
        if any(views):
            people[folder.name] = [v for v in views if v]
    count = sum(map(len, people.values()))
    print(
        f"{len(people)} people (the held-back half), {count} photographs, {failed} without a face"
    )
    table("One photograph enrolled", ONE, one, people, options.draws)
    table("Three photographs enrolled", SEVERAL, several, people, options.draws)
    table("Three views as probe", TRACK, track, people, options.draws)
