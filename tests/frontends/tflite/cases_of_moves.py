"""What moves elements, repeats them or finds them, as models of one operator."""

from __future__ import annotations

from frontends.tflite.case import ALL, BYTES, FLOAT, INT8, INT16, SAME, SIGNED, UINT8, Case, c, ints, k, real, x

MOVES: dict[str, Case] = {
    "reshape": Case("RESHAPE", [x(1, 3, 4, 2), k(1, -1)], "ReshapeOptions", {}, ALL, SAME),
    "reshape_options": Case("RESHAPE", [x(1, 3, 4)], "ReshapeOptions", {"newShape": [1, 12]}, ALL, SAME),
    "squeeze": Case("SQUEEZE", [x(1, 3, 1, 4)], "SqueezeOptions", {"squeezeDims": [2]}, ALL, SAME),
    "expand_dims": Case("EXPAND_DIMS", [x(1, 3, 4), k([1])], "ExpandDimsOptions", {}, ALL, SAME),
    "transpose": Case("TRANSPOSE", [x(1, 3, 4, 2), k(0, 2, 1, 3)], "TransposeOptions", {}, ALL, SAME),
    "concatenation": Case(
        "CONCATENATION", [x(1, 3, 4, 2), x(1, 3, 4, 3)], "ConcatenationOptions", {"axis": 3}, ALL, SAME
    ),
    "concatenation_scales": Case(
        "CONCATENATION", [x(1, 3), x(1, 4, low=-1, high=3)], "ConcatenationOptions", {"axis": -1}, (FLOAT, UINT8)
    ),
    "pack": Case("PACK", [x(3, 4), x(3, 4)], "PackOptions", {"valuesCount": 2, "axis": 1}, ALL, SAME),
    "unpack": Case("UNPACK", [x(3, 2, 4)], "UnpackOptions", {"num": 2, "axis": 1}, ALL, SAME, outputs=2),
    "split": Case("SPLIT", [k(3), x(1, 3, 4, 4)], "SplitOptions", {"numSplits": 2}, ALL, SAME, outputs=2),
    "split_v": Case(
        "SPLIT_V", [x(1, 3, 6), k(1, 2, -1), k(2)], "SplitVOptions", {"numSplits": 3}, ALL, SAME, outputs=3
    ),
    "pad": Case("PAD", [x(1, 3, 4, 2), k([[0, 0], [1, 2], [0, 1], [0, 0]])], "PadOptions", {}, ALL, SAME),
    "pad_v2": Case(
        "PADV2", [x(1, 3, 4, low=-2, high=2), k([[0, 0], [1, 2], [0, 1]]), c(1)], "PadV2Options", {}, ALL, SAME
    ),
    "mirror_pad": Case("MIRROR_PAD", [x(1, 3, 4), k([[0, 0], [1, 2], [2, 1]])], "MirrorPadOptions", {}, ALL, SAME),
    "mirror_pad_symmetric": Case(
        "MIRROR_PAD", [x(1, 3, 4), k([[0, 0], [3, 2], [2, 1]])], "MirrorPadOptions", {"mode": 1}, ALL, SAME
    ),
    "slice": Case(
        "SLICE", [x(1, 3, 4, 2), k(0, 1, 0, 0), k(1, 2, -1, 1)], "SliceOptions", {}, ALL, SAME, shape=(1, 2, 4, 1)
    ),
    "strided_slice": Case(
        "STRIDED_SLICE",
        [x(2, 5, 6), k(0, 1, -1), k(2, 5, -7), k(1, 2, -1)],
        "StridedSliceOptions",
        {"beginMask": 1, "endMask": 1},
        ALL,
        SAME,
    ),
    "strided_slice_shrunk": Case(
        "STRIDED_SLICE",
        [x(2, 5, 6), k(0, -2), k(0, 0), k(1, 1)],
        "StridedSliceOptions",
        {"beginMask": 1, "endMask": 1, "shrinkAxisMask": 2},
        ALL,
        SAME,
    ),
    "strided_slice_new_axis": Case(
        "STRIDED_SLICE",
        [x(2, 5), k(0, 0, 1), k(0, 0, 4), k(1, 1, 1)],
        "StridedSliceOptions",
        {"beginMask": 1, "endMask": 1, "newAxisMask": 2},
        ALL,
        SAME,
    ),
    "reverse_v2": Case("REVERSE_V2", [x(2, 5), k([1])], "ReverseV2Options", {}, ALL, SAME),
    "gather": Case("GATHER", [x(3, 5, 2), k(4, 0, 0)], "GatherOptions", {"axis": 1}, ALL, SAME),
    "gather_computed": Case("GATHER", [x(5, 2), ints(4, 0, 0)], "GatherOptions", {"axis": 0}, ALL, SAME),
    "gather_nd": Case("GATHER_ND", [x(3, 5), k([[0, 4], [2, 1]])], "GatherNdOptions", {}, ALL, SAME),
    "embedding_lookup": Case("EMBEDDING_LOOKUP", [ints(4, 0, 2), c(5, 3)], None, {}, ALL, SAME),
    "tile": Case("TILE", [x(1, 3, 2), k(1, 2, 3)], "TileOptions", {}, ALL, SAME),
    "broadcast_to": Case(
        "BROADCAST_TO", [x(1, 3, 1), k(2, 3, 4)], "BroadcastToOptions", {}, ALL, SAME, plain=False, version=2
    ),
    "depth_to_space": Case("DEPTH_TO_SPACE", [x(1, 3, 2, 8)], "DepthToSpaceOptions", {"blockSize": 2}, BYTES, SAME),
    "space_to_depth": Case("SPACE_TO_DEPTH", [x(1, 4, 6, 2)], "SpaceToDepthOptions", {"blockSize": 2}, BYTES, SAME),
    "space_to_batch": Case(
        "SPACE_TO_BATCH_ND",
        [x(1, 5, 6, 2), k(2, 3), k([[1, 0], [0, 0]])],
        "SpaceToBatchNDOptions",
        {},
        ALL,
        SAME,
    ),
    "batch_to_space": Case(
        "BATCH_TO_SPACE_ND",
        [x(6, 3, 2, 2), k(2, 3), k([[1, 0], [0, 1]])],
        "BatchToSpaceNDOptions",
        {},
        ALL,
        SAME,
    ),
    "quantize": Case(
        "QUANTIZE",
        [real(1, 12)],
        "QuantizeOptions",
        {},
        ALL[1:],
        {INT8: (4 / 255, 7), UINT8: (4 / 255, 99), INT16: (2**-14, 0)},
    ),
    "quantize_again": Case(
        "QUANTIZE", [x(1, 12)], "QuantizeOptions", {}, (INT8, INT16), {INT8: (3 / 255, 7), INT16: (2**-13, 0)}
    ),
    "dequantize": Case("DEQUANTIZE", [x(1, 12)], "DequantizeOptions", {}, ALL[1:], dtype=FLOAT, version=3),
    "shape": Case("SHAPE", [x(2, 3)], "ShapeOptions", {"outType": 2}, SIGNED, dtype="int32"),
    "broadcast_args": Case("BROADCAST_ARGS", [k(1, 3, 1), k(2, 1, 4)], None, {}, (FLOAT,), dtype="int32"),
    "zeros_like": Case("ZEROS_LIKE", [x(2, 3)], "ZerosLikeOptions", {}, (FLOAT,)),
    "fill": Case("FILL", [k(2, 3), x()], "FillOptions", {}, (FLOAT,)),
    **{
        f"resize_nearest_{name}": Case(
            "RESIZE_NEAREST_NEIGHBOR",
            [x(1, 3, 4, 2), k(*size)],
            "ResizeNearestNeighborOptions",
            {"alignCorners": align, "halfPixelCenters": half},
            ALL,
            SAME,
        )
        for name, size, align, half in (
            ("up", (6, 8), False, False),
            ("odd", (5, 7), False, False),
            ("half", (5, 9), False, True),
            ("aligned", (5, 7), True, False),
            ("down", (2, 2), False, True),
        )
    },
    **{
        f"resize_bilinear_{name}": Case(
            "RESIZE_BILINEAR",
            [x(1, 3, 4, 2), k(*size)],
            "ResizeBilinearOptions",
            {"alignCorners": align, "halfPixelCenters": half},
            BYTES,
            SAME,
        )
        for name, size, align, half in (
            ("up", (6, 8), False, False),
            ("half", (5, 9), False, True),
            ("aligned", (5, 7), True, False),
            ("down", (2, 2), False, True),
        )
    },
    "resize_bilinear_wide": Case(
        "RESIZE_BILINEAR",
        [x(1, 3, 4, 2), k(5, 9)],
        "ResizeBilinearOptions",
        {"halfPixelCenters": True},
        (INT16,),
        SAME,
        steps=128,  # LiteRT weighs by multiples of 1 / 1024 along both axes
    ),
}
