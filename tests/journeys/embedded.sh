#!/bin/sh
# An embedded engineer: an ONNX file, samples and labels, a Cortex-M4. graphopt is installed, PyTorch is not.
#   embedded.sh kws_dscnn.onnx kws.npz
set -eu
model=$1 data=$2

graphopt inspect "$model"
graphopt compile "$model" --target cortex-m4 --quantize int8 --calibration "$data[:100]" --key x \
    --data "$data[100:]" --labels y --output firmware
graphopt inspect firmware --layers
graphopt evaluate firmware --data "$data[100:]" --labels y --samples 20 --against "$model"
graphopt evaluate firmware --data "$data[100:]" --labels y --json > accuracy.json
make -C firmware
