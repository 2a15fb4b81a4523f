"""Detection: heads decoded to boxes, boxes thinned out, mean average precision as COCO defines it."""

from graphopt.evaluation.detection.heads import HEADS, decode
from graphopt.evaluation.detection.labels import read_boxes
from graphopt.evaluation.detection.precision import MeanAveragePrecision

__all__ = ["HEADS", "MeanAveragePrecision", "decode", "read_boxes"]
