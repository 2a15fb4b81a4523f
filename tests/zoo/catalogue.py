"""Every architecture of the zoo, with the inputs that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from models import tiny_yolo
from torch import nn

from zoo import attention, audio, classification, mobile, vision
from zoo.blocks import seeded


@dataclass(frozen=True)
class Entry:
    """An architecture: how it is made, the shape of every input behind the batch, and how many tokens there are.

    Inputs are floats, or where there are tokens, integers: the first below that number, any other one a mask.
    """

    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    tokens: int = 0
    slow: bool = False

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return seeded(self.make())

    def inputs(self, batch: int) -> tuple[torch.Tensor, ...]:
        """Drawn inputs: normal floats; a mask has at least one element that counts."""
        generator = torch.Generator().manual_seed(batch)
        if not self.tokens:
            return tuple(torch.randn((batch, *shape), generator=generator) for shape in self.shapes)
        first = torch.randint(self.tokens, (batch, *self.shapes[0]), generator=generator)
        masks = [torch.randint(2, (batch, *shape), generator=generator) for shape in self.shapes[1:]]
        for mask in masks:
            mask[:, 0] = 1
        return first, *masks


IMAGE = ((3, 32, 32),)
VECTOR = ((64,),)
FEATURES = ((20, 16),)

ZOO: dict[str, Entry] = {
    "vgg": Entry(classification.vgg, IMAGE, slow=True),
    "resnet18": Entry(classification.resnet18, IMAGE, slow=True),
    "resnet50": Entry(classification.resnet50, IMAGE, slow=True),
    "squeezenet": Entry(classification.squeezenet, IMAGE, slow=True),
    "densenet": Entry(classification.densenet, IMAGE, slow=True),
    "inception": Entry(classification.inception, IMAGE, slow=True),
    "convnext": Entry(classification.convnext, IMAGE, slow=True),
    "mobilenet_v1": Entry(mobile.mobilenet_v1, IMAGE, slow=True),
    "mobilenet_v2": Entry(mobile.mobilenet_v2, IMAGE, slow=True),
    "mobilenet_v3": Entry(mobile.mobilenet_v3, IMAGE, slow=True),
    "efficientnet": Entry(mobile.efficientnet, IMAGE, slow=True),
    "shufflenet_v2": Entry(mobile.shufflenet_v2, IMAGE, slow=True),
    "tiny_yolo": Entry(tiny_yolo, IMAGE, slow=True),
    "ssd": Entry(vision.Ssd, IMAGE, slow=True),
    "centernet": Entry(vision.CenterNet, IMAGE, slow=True),
    "unet": Entry(vision.UNet, IMAGE),
    "deeplab": Entry(vision.DeepLab, IMAGE, slow=True),
    "fcn": Entry(vision.Fcn, IMAGE, slow=True),
    "espcn": Entry(vision.espcn, ((1, 24, 24),), slow=True),
    "style_transfer": Entry(vision.StyleTransfer, IMAGE, slow=True),
    "autoencoder": Entry(vision.autoencoder, VECTOR),
    "variational": Entry(vision.VariationalAutoencoder, ((3, 32, 32), (16,)), slow=True),
    "ds_cnn": Entry(audio.ds_cnn, ((1, 49, 10),)),
    "tc_resnet": Entry(audio.tc_resnet, ((40, 49),)),
    "voice_activity": Entry(audio.VoiceActivity, ((1, 512),), slow=True),
    "lstm_classifier": Entry(audio.LstmClassifier, FEATURES),
    "gru_tagger": Entry(audio.GruTagger, ((12,),), tokens=50, slow=True),
    "speech": Entry(audio.Speech, ((40, 49),), slow=True),
    "temporal_conv": Entry(audio.temporal_conv, ((4, 50),)),
    "wavenet": Entry(audio.WaveNet, ((1, 64),), slow=True),
    "vision_transformer": Entry(attention.VisionTransformer, IMAGE),
    "bert": Entry(attention.Bert, ((16,), (16,)), tokens=100, slow=True),
    "decoder": Entry(attention.Decoder, ((12,),), tokens=64),
    "mixer": Entry(attention.Mixer, IMAGE, slow=True),
    "conformer": Entry(attention.Conformer, FEATURES, slow=True),
    "point_net": Entry(attention.PointNet, ((3, 40),)),
    "perceptron": Entry(attention.perceptron, VECTOR),
}
