"""The figures of `watchpost evaluate`, computed again from the lines of --scores with numpy, scipy
and scikit-learn.

Written after the definitions (ISO/IEC 19795-1, the LFW and WIDER FACE protocols, Clopper and
Pearson, Fafchamps and Gubert), not after the program. Every function takes the program's JSON and
its lines, and tells a `Ledger` what it found."""

import bisect
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import beta, chi2
from sklearn.metrics import roc_curve


class Ledger:
    """What was compared, and what differs."""

    def __init__(self):
        self.compared, self.different = Counter(), []

    def same(self, what, got, want, within=1e-9):
        self.compared[what.split(":")[0]] += 1
        if got is None or want is None:
            right = got is None and want is None
        elif isinstance(want, (str, bool)) or isinstance(got, str):
            right = got == want
        else:
            right = abs(got - want) <= within * max(1.0, abs(want))
        if not right:
            self.different.append(f"{what}: watchpost says {got}, here it is {want}")

    def true(self, what, holds, detail=""):
        self.compared[what.split(":")[0]] += 1
        if not holds:
            self.different.append(f"{what}: {detail}")

    def rate(self, what, got, count, of, design_effect=1.0):
        """A rate with its count and its exact interval."""
        self.same(f"{what}: count", got["count"], count)
        self.same(f"{what}: of", got["of"], of)
        self.same(f"{what}: rate", got["rate"], count / of if of else None)
        low, high = interval(count / design_effect, of / design_effect)
        self.same(f"{what}: lower", got["lower"], low, 1e-6)
        self.same(f"{what}: upper", got["upper"], high, 1e-6)

    def misses(self, what, got, records, persons, threshold):
        """The mean over people of the share of their pairs below the threshold."""
        of_one = defaultdict(list)
        for r in records:
            of_one[persons[r["a"]]].append(np.float32(r["similarity"]) < np.float32(threshold))
        shares = [float(np.mean(below)) for below in of_one.values()]
        self.same(f"{what}: people", got["people"], len(shares))
        self.same(f"{what}: comparisons", got["comparisons"], len(records))
        self.same(f"{what}: missed", got["missed"], int(sum(sum(b) for b in of_one.values())))
        self.same(f"{what}: rate", got["rate"], float(np.mean(shares)) if shares else None)
        low, high = interval(sum(shares), len(shares))
        self.same(f"{what}: lower", got["lower"], low, 1e-6)
        self.same(f"{what}: upper", got["upper"], high, 1e-6)


def interval(x, n):
    if n == 0:
        return 0.0, 1.0
    return (
        0.0 if x <= 0 else float(beta.ppf(0.025, x, n - x + 1)),
        1.0 if x >= n else float(beta.ppf(0.975, x + 1, n - x)),
    )


def upper_bound(x, n, effect):
    """Poisson, one-sided, 95 %, with a design effect."""
    return 1.0 if n == 0 else min(1.0, float(chi2.ppf(0.95, 2 * (x / effect + 1)) / 2 * effect / n))


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def f32(values):
    return np.array(values, np.float32)


def lowest_threshold(negatives, target):
    """How many negatives may be accepted, and the acceptance rule as a set of scores: `score >
    limit`. None: not supported."""
    allowed = math.floor(target * len(negatives) + 1e-9)
    if allowed == 0:
        return None
    falling = np.sort(f32(negatives))[::-1]
    return float(falling[allowed]) if allowed < len(falling) else -math.inf


def best_accuracy(genuine, impostor):
    """The most right answers that one threshold can give."""
    scores = np.concatenate([genuine, impostor])
    truth = np.concatenate([np.ones(len(genuine)), np.zeros(len(impostor))])
    order = np.argsort(scores, kind="stable")
    scores, truth = scores[order], truth[order]
    # Accept everything from position k on; only where the score changes.
    right = np.concatenate([[truth.sum()], truth.sum() + np.cumsum(1 - 2 * truth)])
    possible = np.concatenate([[True], scores[1:] != scores[:-1], [True]])
    return int(right[possible].max())


# ------------------------------------------------------------------------------
# verification


def verification(v, records, led, name="verification"):
    scored = [r for r in records if r["similarity"] is not None]
    genuine = f32([r["similarity"] for r in scored if r["genuine"]])
    impostor = f32([r["similarity"] for r in scored if not r["genuine"]])
    failed = Counter(r["genuine"] for r in records if r["similarity"] is None)
    for kind, n in [
        ("genuine", len(genuine)),
        ("impostor", len(impostor)),
        ("genuine_failed", failed[True]),
        ("impostor_failed", failed[False]),
    ]:
        led.same(f"{name} pairs: {kind}", v["pairs"][kind], n)

    # Accuracy: the threshold of every fold must be one that is best on all other folds.
    folds = defaultdict(list)
    for r in scored:
        folds[r["fold"]].append(r)
    held = [folds[k] for k in sorted(folds)]
    if len(held) >= 2:
        accuracies = []
        for k, (fold, told) in enumerate(zip(held, v["accuracy"]["folds"], strict=True)):
            others = [r for j, other in enumerate(held) if j != k for r in other]
            t = np.float32(told["threshold"])

            def right(rs, t=t):
                return sum((np.float32(r["similarity"]) >= t) == r["genuine"] for r in rs)

            def split(rs, g):
                return f32([r["similarity"] for r in rs if r["genuine"] == g])

            led.same(
                f"{name} folds: right on the others",
                right(others),
                best_accuracy(split(others, True), split(others, False)),
            )
            led.rate(f"{name} fold {k}", told["accuracy"], int(right(fold)), len(fold))
            accuracies.append(right(fold) / len(fold))
        led.same(f"{name} accuracy: mean", v["accuracy"]["mean"], float(np.mean(accuracies)))
        led.same(
            f"{name} accuracy: deviation",
            v["accuracy"]["standard_deviation"],
            float(np.std(accuracies, ddof=1)),
        )
        led.same(
            f"{name} accuracy: error",
            v["accuracy"]["standard_error"],
            float(np.std(accuracies, ddof=1) / math.sqrt(len(held))),
        )
        hits = sum(round(a * len(f)) for a, f in zip(accuracies, held, strict=True))
        led.rate(f"{name} pooled accuracy", v["accuracy"]["pooled"], hits, len(scored))
    else:
        led.same(f"{name} accuracy: none", v["accuracy"], None)
    if scored:
        led.rate(
            f"{name} best accuracy",
            v["best_accuracy"]["accuracy"],
            best_accuracy(genuine, impostor),
            len(scored),
        )
    if not (len(genuine) and len(impostor)):
        return

    # scikit-learn's curve: the best true accept rate whose false accept rate is allowed.
    truth = np.concatenate([np.ones(len(genuine)), np.zeros(len(impostor))])
    far, tar, _ = roc_curve(truth, np.concatenate([genuine, impostor]), drop_intermediate=False)
    for point in v["tar_at_far"]:
        target = point["target_far"]
        if target is None:
            limit = np.float32(point["threshold"])
            led.rate(
                f"{name} TAR at a threshold",
                point["tar"],
                int((genuine >= limit).sum()),
                len(genuine),
            )
            led.rate(
                f"{name} FAR at a threshold",
                point["far"],
                int((impostor >= limit).sum()),
                len(impostor),
            )
            continue
        limit = lowest_threshold(impostor, target)
        led.same(f"{name} TAR@{target}: supported", point["unsupported"] is None, limit is not None)
        if limit is None:
            led.true(
                f"{name} TAR@{target}: no figure",
                point["tar"] is None and point["far"] is None and point["threshold"] is None,
            )
            continue
        led.same(
            f"{name} TAR@{target}: by scikit-learn",
            point["tar"]["rate"],
            float(tar[far <= target + 1e-12].max()),
        )
        led.rate(f"{name} TAR@{target}", point["tar"], int((genuine > limit).sum()), len(genuine))
        led.rate(f"{name} FAR@{target}", point["far"], int((impostor > limit).sum()), len(impostor))
        led.rate(
            f"{name} TAR with failures@{target}",
            point["tar_with_failures"],
            int((genuine > limit).sum()),
            len(genuine) + failed[True],
        )
        led.same(
            f"{name} TAR@{target}: at its threshold",
            int((genuine >= np.float32(point["threshold"])).sum()),
            point["tar"]["count"],
        )
    for point in v["roc"]:
        t = np.float32(point["threshold"])
        led.same(f"{name} ROC: far", point["far"], float((impostor >= t).mean()))
        led.same(f"{name} ROC: tar", point["tar"], float((genuine >= t).mean()))
    both = np.unique(np.concatenate([genuine, impostor]))
    fmr = np.array([(impostor >= t).mean() for t in both])
    fnmr = np.array([(genuine < t).mean() for t in both])
    nearest = np.abs(fmr - fnmr).min()
    candidates = (fmr + fnmr)[np.abs(np.abs(fmr - fnmr) - nearest) < 1e-12] / 2
    led.true(
        f"{name} equal error",
        np.abs(candidates - v["equal_error"]["rate"]).min() < 1e-9,
        f"{v['equal_error']} is none of {candidates}",
    )
    for kind, values in [("genuine", genuine), ("impostor", impostor)]:
        led.same(f"{name} histogram: {kind}", sum(n for _, n in v["histogram"][kind]), len(values))


# ------------------------------------------------------------------------------
# identification


class SplitMix64:
    def __init__(self, state):
        self.state = state

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    def below(self, n):
        while True:
            product = self.next() * n
            if product % 2**64 >= 2**64 % n:
                return product >> 64

    def shuffled(self, items):
        items = list(items)
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
        return items


def identification(result, records, people, led):
    """`people`: name -> usable photographs (readable, no copies), both in order."""
    plan = result["plan"]
    with_two = [p for p in people if len(people[p]) >= 2]
    gallery = min(plan["gallery"], len(with_two))
    led.same("identification plan: people", result["people"], len(people))
    led.same("identification plan: gallery", result["gallery"], gallery)
    rates = defaultdict(list)
    for number, told in enumerate(result["draws"]):
        seeds = SplitMix64(plan["seed"])
        for _ in range(number + 1):
            seed = seeds.next()
        draw = SplitMix64(seed)
        listed = draw.shuffled(with_two)[:gallery]
        enrolled, mated = {}, []
        for person in listed:
            order = draw.shuffled(people[person])
            enrolled[person] = order[0]
            mated += [(person, f) for f in order[1 : 1 + plan["probes_a_person"]]]
        strangers = [
            (p, people[p][draw.below(len(people[p]))]) for p in people if p not in enrolled
        ]

        mine = [r for r in records if r["draw"] == number]
        probes = {(r["person"], r["probe"], r["mated"]): r for r in mine if "probe" in r}
        led.same(
            "identification draw: enrolled",
            {r["person"]: r["enrolled"] for r in mine if "enrolled" in r} == enrolled,
            True,
        )
        want = {(p, f, True) for p, f in mated} | {(p, f, False) for p, f in strangers}
        led.same("identification draw: probes", set(probes) == want, True)
        if set(probes) != want:
            continue
        hits = f32(
            [
                probes[p, f, True]["best"]
                for p, f in mated
                if probes[p, f, True]["best"] is not None and probes[p, f, True]["best_person"] == p
            ]
        )
        alarms = f32(
            [
                probes[p, f, False]["best"]
                for p, f in strangers
                if probes[p, f, False]["best"] is not None
            ]
        )
        led.same("identification draw: non-mated", told["non_mated"], len(alarms))
        led.rate(
            "identification failure to enrol",
            told["failure_to_enrol"],
            sum(not r["template"] for r in mine if "enrolled" in r),
            gallery,
        )
        led.rate("identification rank 1", told["rank_1"], len(hits), len(mated))
        rates["rank_1"].append(len(hits) / len(mated))
        for point in told["points"]:
            target = point["target_fpir"]
            limit = lowest_threshold(alarms, target)
            led.same(
                f"identification FNIR@{target}: supported",
                point["unsupported"] is None,
                limit is not None,
            )
            if limit is None:
                continue
            led.rate(
                f"identification FPIR@{target}",
                point["fpir"],
                int((alarms > limit).sum()),
                len(alarms),
            )
            led.rate(
                f"identification FNIR@{target}",
                point["fnir"],
                len(mated) - int((hits > limit).sum()),
                len(mated),
            )
            rates[target].append(1 - (hits > limit).sum() / len(mated))
    for summary in [result["rank_1"], *result["fnir_at_fpir"]]:
        values = rates["rank_1" if summary["target_fpir"] is None else summary["target_fpir"]]
        led.same("identification mean", summary["mean"], float(np.mean(values)) if values else None)
        if len(values) > 1:
            led.same(
                "identification deviation",
                summary["standard_deviation"],
                float(np.std(values, ddof=1)),
            )
            led.same("identification lowest", summary["lowest"], min(values))
            led.same("identification highest", summary["highest"], max(values))


# ------------------------------------------------------------------------------
# detection


def overlaps(box, others):
    """Intersection over union as WIDER's `bbox_overlap` counts it: a side is right - left + 1."""
    x, y, w, h = box
    ox, oy, ow, oh = others.T
    width = np.minimum(x + w, ox + ow) - np.maximum(x, ox) + 1
    height = np.minimum(y + h, oy + oh) - np.maximum(y, oy) + 1
    shared = np.where((width > 0) & (height > 0), width * height, 0)
    return shared / ((w + 1) * (h + 1) + (ow + 1) * (oh + 1) - shared)


def wider_ap(images, chosen):
    """`evaluation.py` of the WIDER FACE development kit, by hand: `images` is a list of (faces,
    indices that count, detections)."""
    scores = np.concatenate([d[:, 4] for _, _, d in images if len(d)] or [np.zeros(0)])
    low, high = (scores.min(), scores.max()) if len(scores) else (0, 1)
    proposed, found, faces = np.zeros(1000), np.zeros(1000), 0
    for truth, sets, detections in images:
        counted = sets[chosen]
        faces += len(counted)
        if len(truth) == 0 or len(detections) == 0:
            continue
        ignored = np.ones(len(truth), bool)
        ignored[counted] = False
        taken, hits, proposals = np.zeros(len(truth), bool), [], []
        for d in detections:
            o = overlaps(d[:4], truth)
            best = int(np.argmax(o))
            counts = True
            if o[best] >= 0.5:
                if ignored[best]:
                    counts = False
                else:
                    taken[best] = True
            proposals.append(counts)
            hits.append(taken.sum())
        normal = (detections[:, 4] - low) / (high - low)
        for t in range(1000):
            accepted = np.flatnonzero(normal >= 1 - (t + 1) / 1000)
            if len(accepted):
                proposed[t] += sum(proposals[: accepted[-1] + 1])
                found[t] += hits[accepted[-1]]
    if faces == 0:
        return None, 0
    precision = np.divide(found, proposed, out=np.zeros(1000), where=proposed > 0)
    recall = found / faces
    rec = np.concatenate([[0.0], recall, [1.0]])
    pre = np.concatenate([[0.0], precision, [0.0]])
    pre = np.maximum.accumulate(pre[::-1])[::-1]
    step = np.flatnonzero(rec[1:] != rec[:-1])
    return float(((rec[step + 1] - rec[step]) * pre[step + 1]).sum()), faces


def detection(result, records, truth, led):
    """`truth`: the lines of the ground truth."""
    by_name = {t["image"]: t for t in truth}
    with_sets = any(k in t for t in truth for k in ("easy", "medium", "hard"))
    names = ["easy", "medium", "hard"] if with_sets else ["all"]
    images = []
    for r in records:
        t = by_name[r["image"]]
        faces = f32(t["boxes_xywh"]).reshape(-1, 4).astype(float)
        sets = {n: t.get(n, []) for n in names} if with_sets else {"all": list(range(len(faces)))}
        images.append((faces, sets, f32(r["faces"]).reshape(-1, 5).astype(float)))
    led.same("detection images", result["images"], len(images))
    for told, name in zip(result["sets"], names, strict=True):
        ap, faces = wider_ap(images, name)
        led.same(f"detection AP {name}", told["average_precision"], ap, 1e-6)
        led.same(f"detection faces {name}", told["faces"], faces)
    # What a device reports: merged its way, at its threshold.
    sure = [f32(r["reported"]).reshape(-1, 4).astype(float) for r in records]
    recall, heights = {n: [0, 0] for n in names}, defaultdict(lambda: [0, 0])
    false_positives = 0
    edges = [h["from"] for h in result["by_height"]]
    for (faces, sets, _), found, r in zip(images, sure, records, strict=True):
        near = np.array([overlaps(d[:4], faces) for d in found]).reshape(len(found), len(faces))
        false_positives += int((near.max(axis=1, initial=0) < 0.3).sum())
        for n in names:
            for i in sets[n]:
                hit = int((near[:, i] >= 0.5).any())
                recall[n][0] += hit
                recall[n][1] += 1
                if n == names[-1]:
                    at = edges[bisect.bisect_right(edges, faces[i][3] * r["scale"]) - 1]
                    heights[at][0] += hit
                    heights[at][1] += 1
    for told, n in zip(result["sets"], names, strict=True):
        led.rate(f"detection recall {n}", told["recall"], *recall[n])
    for told in result["by_height"]:
        led.rate(
            f"detection recall by height {told['from']}", told["recall"], *heights[told["from"]]
        )
    led.rate(
        "detection false positives", result["false_positives"], false_positives, sum(map(len, sure))
    )


# ------------------------------------------------------------------------------
# groups and curve


def design_effect(pairs, photographs, matches):
    """Variance of the rate over that of independent comparisons, where comparisons that share a
    person go together.

    `pairs`: (person, person) of every comparison; `matches`: whether each is a false match. Sum
    over all pairs of pairs of people that share at least one, of the product of their residuals, by
    its definition."""
    n, x = len(matches), int(np.sum(matches))
    p = x / n if n else 0.0
    if not 0 < p < 1:
        return 1.0
    residual = defaultdict(float)
    for (a, b), match in zip(pairs, matches, strict=True):
        residual[min(a, b), max(a, b)] += float(match) - p
    by_person = defaultdict(float)
    for (a, b), r in residual.items():
        by_person[a] += r
        by_person[b] += r
    # A pair of people shares both with itself: it is in the sum of both of its people, once too
    # often.
    variance = sum(v * v for v in by_person.values()) - sum(r * r for r in residual.values())
    return max(variance / (n * p * (1 - p)), 1.0)


def at_or_above(values, threshold):
    """Thresholds of three decimals, as stated."""
    return int((values >= np.float32(threshold)).sum())


def groups(result, records, persons, led):
    """`persons`: photograph -> person."""
    kept = [r for r in records if not r["same_person"]]
    everyone = f32([r["similarity"] for r in kept])
    for at in result["thresholds"]:
        target = at["target_fmr"]
        if at["threshold"] is None:
            led.true(
                "groups supported",
                math.floor(target * len(everyone) + 1e-9) == 0,
                f"{target} of {len(everyone)}",
            )
            continue
        t = at["threshold"]
        led.rate("groups all", at["all"], at_or_above(everyone, t), len(everyone))
        if target is not None:
            allowed = math.floor(target * len(everyone) + 1e-9)
            led.true(
                "groups threshold",
                at_or_above(everyone, t) <= allowed < at_or_above(everyone, t - 0.001),
                f"{t} for {target}",
            )
        rates = {}
        for told in at["groups"]:
            inside = [r for r in kept if r["group_a"] == r["group_b"] == told["group"]]
            values = f32([r["similarity"] for r in inside])
            matches = values >= np.float32(t)
            effect = design_effect(
                [(persons[r["a"]], persons[r["b"]]) for r in inside], None, matches
            )
            led.same("groups design effect", told["design_effect"], effect, 1e-6)
            led.rate(
                "groups FMR", told["fmr"], int(matches.sum()), len(values), told["design_effect"]
            )
            same = [r for r in records if r["same_person"] and r["group_a"] == told["group"]]
            led.misses("groups FNMR", told["fnmr"], same, persons, t)
            if len(values):
                rates[told["group"]] = matches.mean()
        d, r = at["fmr_differential"], np.array(list(rates.values()))
        if len(r) >= 2 and (r > 0).all():
            led.same("groups worst/best", d["worst_over_best"], float(r.max() / r.min()))
            led.same(
                "groups MXOG",
                d["max_over_geometric_mean"],
                float(r.max() / np.exp(np.log(r).mean())),
            )
            n = len(r)
            led.same(
                "groups Gini",
                d["gini"],
                float(np.abs(r[:, None] - r).sum() / (2 * n * n * r.mean()) * n / (n - 1)),
            )
        else:
            led.true(
                "groups no ratio", d["worst_over_best"] is None and d["unsupported"] is not None
            )


def curve(result, records, persons, led):
    impostor = [r for r in records if not r["same_person"]]
    genuine = [r for r in records if r["same_person"]]
    values = f32([r["similarity"] for r in impostor])
    pairs = [(persons[r["a"]], persons[r["b"]]) for r in impostor]
    led.same("curve impostor comparisons", result["impostor_comparisons"], len(values))
    led.same("curve genuine comparisons", result["genuine_comparisons"], len(genuine))
    bounds, measurable = [], 1.0
    for p in result["points"]:
        t = np.float32(p["threshold"])
        matches = values >= t
        effect = design_effect(pairs, None, matches)
        people = len({tuple(sorted(pair)) for pair, m in zip(pairs, matches, strict=True) if m})
        led.same("curve design effect", p["design_effect"], effect, 1e-6)
        led.rate("curve FMR", p["fmr"], int(matches.sum()), len(values), effect)
        led.misses("curve FNMR", p["fnmr"], genuine, persons, t)
        led.same("curve pairs of people", p["pairs_of_people"], people)
        led.true(
            "curve enough pairs of people", people >= result["least_pairs"], f"{people} at {t}"
        )
        # Fewer than ten pairs of people do not tell how they bunch: at least the last effect that
        # ten told.
        measurable = effect if people >= 10 else measurable
        bounds.append(upper_bound(matches.sum(), len(values), max(effect, measurable)))
    for p, bound in zip(result["points"], np.maximum.accumulate(bounds[::-1])[::-1], strict=True):
        led.same("curve upper bound", p["fmr_upper"], float(bound), 1e-6)
    if result["points"]:
        beyond = values >= np.float32(round(result["points"][-1]["threshold"] + 0.01, 2))
        people = len({tuple(sorted(pair)) for pair, m in zip(pairs, beyond, strict=True) if m})
        led.true(
            "curve ends where it must",
            people < result["least_pairs"],
            f"{people} pairs of people beyond the end",
        )
