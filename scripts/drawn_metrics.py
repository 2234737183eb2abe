#!/usr/bin/env python3
"""Draws answers, scores and predictions and writes what scikit-learn says of them: tests/data/drawn_metrics.txt, which
tests/drawn_metrics.rs reads. Ties, classes that never occur, one class only, one example only. BLEU is counted by the
formula of Papineni et al. 2002, with fractions; the calibration error from scikit-learn's reliability curve.

    pip install numpy scikit-learn
    python3 scripts/drawn_metrics.py                       # the file in the repository
    python3 scripts/drawn_metrics.py --seed 7 --count 20 --out /tmp/metrics.txt      # 20 times as many
    KILN_DRAWN=/tmp/metrics.txt cargo test -p kiln --test drawn_metrics

A line is a case: `kind;name=numbers;..`, where a name of what is wanted begins with `=`.
"""
import argparse
import math
import random
import warnings
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
from sklearn import metrics as m
from sklearn.calibration import calibration_curve

warnings.simplefilter("ignore")
R = random.Random()
AVERAGES = ["micro", "macro", "weighted"]
SHARES = [("precision", m.precision_score), ("recall", m.recall_score), ("f1", m.f1_score), ("iou", m.jaccard_score)]


def text(value):
    return " ".join(str(int(v)) if v == v and v % 1 == 0 else repr(v) for v in np.ravel(np.asarray(value, dtype=np.float64)).tolist())


def line(kind, given, wanted):
    return ";".join([kind] + [f"{k}={text(v)}" for k, v in given.items()] + [f"={k}={text(v)}" for k, v in wanted.items()])


def sixteenths(n, low=-32, high=32):
    """Numbers that float32 has, many of them equal."""
    step = R.choice([1, 1, 8])
    return np.array([R.randrange(low, high + 1, step) / 16 for _ in range(n)])


def shares(truth, answer, zero, labels):
    out = {}
    for name, score in SHARES:
        if name == "iou" and math.isnan(zero):
            continue  # scikit-learn does not take it there
        for average in AVERAGES:
            out[f"{name}.{average}"] = score(truth, answer, average=average, zero_division=zero)
        out[f"{name}.each"] = score(truth, answer, average=None, labels=labels, zero_division=zero)
    return out


def confusion():
    classes, n = R.randint(1, 5), R.choice([1, 2, 3, 5, 8, 20, 40])
    some = [R.sample(range(classes), R.randint(1, classes)) for _ in range(2)]
    truth, answer = ([R.choice(which) for _ in range(n)] for which in some)
    answer = [t if R.random() < 0.4 else a for t, a in zip(truth, answer)]
    zero = R.choice([0.0, 0.0, 1.0, math.nan])
    out = shares(truth, answer, zero, range(classes))
    out.update(accuracy=m.accuracy_score(truth, answer), balanced=m.balanced_accuracy_score(truth, answer),
               matthews=m.matthews_corrcoef(truth, answer), kappa=m.cohen_kappa_score(truth, answer),
               counts=m.confusion_matrix(truth, answer, labels=range(classes)))
    return line("confusion", dict(classes=classes, zero=zero, truth=truth, answer=answer), out)


def multilabel():
    labels, n = R.randint(2, 4), R.choice([1, 2, 3, 8, 20])
    rates = [[R.choice([0.0, 0.3, 0.7, 1.0]) for _ in range(labels)] for _ in range(2)]
    truth, answer = (np.array([[int(R.random() < r) for r in rate] for _ in range(n)]) for rate in rates)
    zero = R.choice([0.0, 0.0, 1.0, math.nan])
    out = shares(truth, answer, zero, None)
    out.update(accuracy=m.accuracy_score(truth, answer), hamming=m.hamming_loss(truth, answer))
    return line("multilabel", dict(labels=labels, zero=zero, truth=truth, answer=answer), out)


def ranking():
    n = R.choice([1, 2, 3, 5, 12, 40])
    scores = sixteenths(n)
    rate = R.choice([0.0, 0.2, 0.5, 0.5, 0.8, 1.0])
    labels = np.array([int(R.random() < rate) for _ in range(n)])
    fpr, tpr, at = m.roc_curve(labels, scores, drop_intermediate=False)
    precision, recall, _ = m.precision_recall_curve(labels, scores)
    out = dict(auc=m.roc_auc_score(labels, scores) if 0 < labels.sum() < n else math.nan, ap=m.average_precision_score(labels, scores),
               fpr=fpr, tpr=tpr, thresholds=at, precision=precision[:-1][::-1], recall=recall[:-1][::-1])
    return line("ranking", dict(scores=scores, labels=labels), out)


def rankings():
    """Each class against the rest: of several labels, or of one class each."""
    classes, n = R.randint(2, 4), R.choice([2, 3, 8, 20])
    scores = sixteenths(n * classes).reshape(n, classes)
    one = R.random() < 0.5
    if one:
        which = [R.randrange(classes if R.random() < 0.8 else 1) for _ in range(n)]
        labels = np.eye(classes, dtype=int)[which]
    else:
        which = []
        rates = [R.choice([0.0, 0.3, 0.7]) for _ in range(classes)]
        labels = np.array([[int(R.random() < r) for r in rates] for _ in range(n)])
    if not labels.any():  # weighted by nothing it is 0 there
        return rankings()
    out = {}
    for average in AVERAGES:
        out[f"auc.{average}"] = m.roc_auc_score(labels, scores, average=average)
        out[f"ap.{average}"] = m.average_precision_score(labels, scores, average=average)
    return line("rankings", dict(classes=classes, scores=scores, which=which, labels=labels), out)


def regression():
    n = R.choice([1, 2, 3, 10, 50])
    wanted, predicted = sixteenths(n), sixteenths(n)
    if R.random() < 0.2:
        wanted = wanted * 0 + R.choice([0.0, 1.5])
    if R.random() < 0.2:
        predicted = wanted.copy()
    out = dict(mae=m.mean_absolute_error(wanted, predicted), mse=m.mean_squared_error(wanted, predicted),
               rmse=m.root_mean_squared_error(wanted, predicted), max=m.max_error(wanted, predicted), r2=m.r2_score(wanted, predicted))
    return line("regression", dict(wanted=wanted, predicted=predicted), out)


def top():
    classes, n = R.randint(3, 6), R.choice([1, 2, 8, 30])
    k = R.randint(1, classes)
    ties = R.random() < 0.5
    row = lambda: R.choices(range(-2, 3), k=classes) if ties else R.sample(range(-40, 40), classes)
    logits = np.array([row() for _ in range(n)]) / 16
    labels = [R.randrange(classes) for _ in range(n)]
    out = dict(top=m.top_k_accuracy_score(labels, logits, k=k, labels=range(classes)), first=m.accuracy_score(labels, logits.argmax(1)))
    return line("top", dict(classes=classes, k=k, logits=logits, labels=labels), out)


def calibration():
    n, bins = R.choice([1, 3, 10, 50]), R.choice([1, 4, 10, 15, 100])
    sure = np.array([R.choice([0.0, 1.0, R.randint(0, bins) / bins, R.randint(0, 999) / 999]) for _ in range(n)])
    right = np.array([int(R.random() < s) for s in sure])
    right[0] = 1 - right[0] if n == 1 else right[0]
    count, _ = np.histogram(np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], sure), bins=range(bins + 1))
    if len(set(right)) == 1:  # of which there is no curve
        return calibration()
    true, said = calibration_curve(right, sure, n_bins=bins)
    apart = np.abs(true - said)
    out = dict(counts=count, error=(apart * count[count > 0]).sum() / n, max=apart.max())
    return line("calibration", dict(bins=bins, sure=sure, right=right), out)


def bleu():
    pairs = []
    for _ in range(R.choice([1, 1, 2, 4])):
        reference = [[R.randrange(4) for _ in range(R.randint(0, 12))] for _ in range(R.choice([1, 1, 2, 3]))]
        candidate = list(R.choice(reference)) if R.random() < 0.7 else [R.randrange(4) for _ in range(R.randint(0, 12))]
        for _ in range(R.randint(0, 2)):
            if candidate:
                candidate[R.randrange(len(candidate))] = R.randrange(4)
        if R.random() < 0.3:
            candidate = candidate[:R.randint(0, len(candidate))]
        pairs.append((candidate, reference))
    product, grams = Fraction(1), lambda words, n: Counter(tuple(words[i:i + n]) for i in range(len(words) - n + 1))
    for n in range(1, 5):
        found = whole = 0
        for candidate, references in pairs:
            most = Counter()
            for reference in references:
                most |= grams(reference, n)
            have = grams(candidate, n)
            found, whole = found + sum((have & most).values()), whole + sum(have.values())
        product *= Fraction(found, whole) if whole else 0
    c = sum(len(candidate) for candidate, _ in pairs)
    r = sum(min((abs(len(x) - len(candidate)), len(x)) for x in references)[1] for candidate, references in pairs)
    value = 0.0 if product == 0 else math.exp(min(0.0, 1 - r / c)) * float(product) ** 0.25
    # every list with its length before it, and every candidate with the number of its references
    flat = [x for candidate, references in pairs for x in [len(references), len(candidate), *candidate] + [y for ref in references for y in [len(ref), *ref]]]
    return line("bleu", dict(pairs=flat), dict(value=value))


KINDS = [(confusion, 120), (multilabel, 70), (ranking, 80), (rankings, 60), (regression, 40), (top, 30), (calibration, 50), (bleu, 70)]
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--count", type=int, default=1)
parser.add_argument("--out", default=Path(__file__).parent.parent / "tests/data/drawn_metrics.txt")
args = parser.parse_args()
R.seed(args.seed)
lines = [kind() for kind, count in KINDS for _ in range(count * args.count)]
Path(args.out).write_text("\n".join(lines) + "\n")
print(f"{len(lines)} cases")
