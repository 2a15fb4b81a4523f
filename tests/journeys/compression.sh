#!/bin/sh
# Somebody who prunes and quantizes, and wants to know what is left.
#   compression.sh kws_dscnn.onnx kws.npz
set -eu
model=$1 data=$2

graphopt prune "$model" --target-macs 0.95 --data "$data[:100]" --key x --importance activation --output small.gopt
graphopt evaluate small.gopt --data "$data[100:]" --labels y --against "$model"
graphopt analyze small.gopt --data "$data[:100]" --key x
graphopt opt small.gopt --passes quantize,fuse --calibration "$data[:100]" --key x --output tiny.gopt

cat > compare.py <<END
import numpy as np
import graphopt

data = np.load("$data")
variants = {"float": graphopt.load("$model"), "pruned": graphopt.load("small.gopt"), "and in int8": graphopt.load("tiny.gopt")}
table = graphopt.compare(variants, data["x"][100:400], data["y"][100:400], metric="top1", target="cortex-m4")
print(table)
END
python compare.py
