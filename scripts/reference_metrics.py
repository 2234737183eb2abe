#!/usr/bin/env python3
"""Writes tests/data/metrics.safetensors: scikit-learn's numbers for tests/metrics.rs.

    pip install numpy scikit-learn safetensors && python3 scripts/reference_metrics.py
"""
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn import metrics as m

rng = np.random.default_rng(3)
out = {}


def put(name, value):
    out[name] = np.atleast_1d(np.asarray(value, dtype=np.float64))


# classes 0..5, of which 4 is never answered and 5 never occurs
truth = rng.integers(0, 5, 200).astype(np.int32)
answer = np.where(rng.random(200) < 0.6, truth, rng.integers(0, 4, 200)).astype(np.int32)
answer[answer == 4] = 0
out["confusion.truth"], out["confusion.answer"] = truth, answer
for name, average in [("micro", "micro"), ("macro", "macro"), ("weighted", "weighted")]:
    for kind, score in [("precision", m.precision_score), ("recall", m.recall_score), ("f1", m.f1_score), ("iou", m.jaccard_score)]:
        put(f"confusion.{kind}.{name}", score(truth, answer, average=average, zero_division=0))
for kind, score in [("precision", m.precision_score), ("recall", m.recall_score), ("f1", m.f1_score), ("iou", m.jaccard_score)]:
    put(f"confusion.{kind}.each", score(truth, answer, average=None, labels=range(6), zero_division=0))
put("confusion.accuracy", m.accuracy_score(truth, answer))
put("confusion.balanced", m.balanced_accuracy_score(truth, answer))
put("confusion.matthews", m.matthews_corrcoef(truth, answer))
put("confusion.kappa", m.cohen_kappa_score(truth, answer))

# many ties
for name, scores in [("ties", rng.integers(0, 6, 120) / 8), ("plain", rng.normal(size=90))]:
    labels = (rng.random(scores.size) < 0.3 + 0.4 * (scores > 0.4)).astype(np.float64)
    put(f"rank.{name}.scores", scores)
    put(f"rank.{name}.labels", labels)
    put(f"rank.{name}.auc", m.roc_auc_score(labels, scores))
    put(f"rank.{name}.ap", m.average_precision_score(labels, scores))
    fpr, tpr, _ = m.roc_curve(labels, scores, drop_intermediate=False)
    put(f"rank.{name}.fpr", fpr)
    put(f"rank.{name}.tpr", tpr)
    precision, recall, _ = m.precision_recall_curve(labels, scores)
    put(f"rank.{name}.precision", precision[:-1][::-1])  # without the point that no threshold gives
    put(f"rank.{name}.recall", recall[:-1][::-1])

wanted = rng.normal(size=77) * 3 + 1000
predicted = wanted + rng.normal(size=77)
put("regression.wanted", wanted)
put("regression.predicted", predicted)
put("regression.mae", m.mean_absolute_error(wanted, predicted))
put("regression.mse", m.mean_squared_error(wanted, predicted))
put("regression.rmse", m.root_mean_squared_error(wanted, predicted))
put("regression.max", m.max_error(wanted, predicted))
put("regression.r2", m.r2_score(wanted, predicted))

logits = rng.normal(size=(50, 7)).astype(np.float32)
labels = rng.integers(0, 7, 50).astype(np.int32)
out["top.logits"], out["top.labels"] = logits, labels
for k in (1, 2, 5, 7):
    put(f"top.{k}", m.top_k_accuracy_score(labels, logits, k=k, labels=range(7)))

KINDS = [("precision", m.precision_score), ("recall", m.recall_score), ("f1", m.f1_score), ("iou", m.jaccard_score)]
AVERAGES = ["micro", "macro", "weighted"]
# few answers: class 3 is never answered, class 1 never true, class 4 neither; other shares of nothing
sparse_truth, sparse_answer = np.array([0, 0, 2, 3, 2, 0], dtype=np.int32), np.array([0, 1, 2, 2, 2, 1], dtype=np.int32)
out["sparse.truth"], out["sparse.answer"] = sparse_truth, sparse_answer
for zero, value in [("one", 1.0), ("nan", np.nan)]:
    for kind, score in KINDS[:3]:
        for average in AVERAGES:
            put(f"sparse.{zero}.{kind}.{average}", score(sparse_truth, sparse_answer, average=average, zero_division=value))

# label 3 is never true, label 4 never answered
truth = (rng.random((40, 5)) < [0.5, 0.2, 0.9, 0.0, 0.3]).astype(np.float32)
scores = np.round(rng.random((40, 5)) * 0.6 + 0.4 * truth * rng.random((40, 5)), 1).astype(np.float32)
scores[:, 4] *= 0.5
answer = (scores > 0.5).astype(np.float32)
out["labels.truth"], out["labels.scores"] = truth, scores
for kind, score in KINDS:
    for average in AVERAGES:
        put(f"labels.{kind}.{average}", score(truth, answer, average=average, zero_division=0))
    put(f"labels.{kind}.each", score(truth, answer, average=None, zero_division=0))
put("labels.accuracy", m.accuracy_score(truth, answer))
put("labels.hamming", m.hamming_loss(truth, answer))
for average in AVERAGES:
    whole = np.delete(truth, 3, 1), np.delete(scores, 3, 1)
    put(f"labels.auc.{average}", m.roc_auc_score(*whole, average=average))
    put(f"labels.ap.{average}", m.average_precision_score(*whole, average=average))

# classes against the rest, with ties
scores = np.round(rng.random((60, 3)), 1) + 0.05
scores = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
classes = rng.integers(0, 3, 60).astype(np.int32)
out["rest.scores"], out["rest.labels"] = scores, classes
exact = scores.astype(np.float64)
exact = exact / exact.sum(1, keepdims=True)
for average in AVERAGES:
    put(f"rest.auc.{average}", m.roc_auc_score(np.eye(3)[classes], scores.astype(np.float64), average=average))
    if average != "micro":
        assert abs(out[f"rest.auc.{average}"][0] - m.roc_auc_score(classes, exact, multi_class="ovr", average=average)) < 1e-2

out = {name: np.ascontiguousarray(value) for name, value in out.items()}
save_file(out, Path(__file__).parent.parent / "tests/data/metrics.safetensors")
