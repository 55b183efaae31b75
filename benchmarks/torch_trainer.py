"""The same networks in PyTorch, for benchmarks/training.py: channels-last, optionally bfloat16.

    python benchmarks/torch_trainer.py NETWORK WIDTH BATCH SECONDS PRECISION THREADS

Needs only PyTorch, and nothing from this project. All training steps use the same batch, without data
loading or augmentation. Prints the training speed in images per second.
"""

import sys
import time

import torch
from torch import nn


class ConvBNReLU(nn.Sequential):
    """Convolution, optional max pooling, batch normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, pool: bool = False) -> None:
        padding = nn.ZeroPad2d((1, 1, 1, 1))
        layers: list[nn.Module] = [padding, nn.Conv2d(inputs, outputs, kernel, stride, bias=False)]
        if kernel == 3:
            layers = [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)]
        if pool:
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(ConvBNReLU(channels, channels), ConvBNReLU(channels, channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add the output of the convolutions to the input."""
        return features + self.convolutions(features)


def build(name: str, width: int) -> nn.Module:
    """Build the equivalent of a network in src/emotion/networks/."""
    layers: list[nn.Module] = []
    if name == "residual":
        layers.append(ConvBNReLU(1, width, kernel=4, stride=2))
        for inputs, outputs, blocks in ((1, 2, 0), (2, 3, 1), (3, 6, 1)):
            layers.append(ConvBNReLU(inputs * width, outputs * width, pool=True))
            layers += [ResidualBlock(outputs * width) for _ in range(blocks)]
        channels = 6 * width
    else:
        channels = 1
        for hidden, outputs in ((0.5, 1), (2, 2), (4, 4), (4, 4)):
            hidden_channels = int(hidden * width)
            layers += [ConvBNReLU(channels, hidden_channels), ConvBNReLU(hidden_channels, outputs * width, pool=True)]
            channels = outputs * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels, 7))


def main() -> None:
    """Train for SECONDS and print the speed."""
    name, width, batch, seconds, precision, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    network = build(name, int(width)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    images = torch.rand(int(batch), 1, 48, 48).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 7, (int(batch),))
    loss_function = nn.CrossEntropyLoss(label_smoothing=0.1)
    steps, start = -5, time.perf_counter()
    while steps < 0 or time.perf_counter() - start < float(seconds):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = loss_function(network(images), labels)
        loss.backward()
        optimizer.step()
        steps += 1
        if steps == 0:  # end of the warm-up
            start = time.perf_counter()
    print(steps * int(batch) / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
