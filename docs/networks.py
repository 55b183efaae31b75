"""Write the page about the networks, docs/networks.md, with a diagram of each: `python docs/networks.py`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from emotion.data.labels import EMOTIONS, IMAGE_SIZE
from emotion.evaluation.figures.network import draw_network
from emotion.evaluation.network_layers import layer_table, stage_table
from emotion.networks.build import NETWORKS, build
from emotion.params.load import load_params

PAGE, PICTURES = Path(__file__).with_name("networks.md"), Path(__file__).with_name("networks")
START = """\
# Networks

`train.network` chooses one of these. The table and the diagrams show each as `params.yaml` configures it: parameters,
and floating-point operations for one image as TensorFlow counts them (a multiplication and an addition are two).
`make docs` writes this page. Every training records the same for its own network, with a table of all layers, in
`reports/network/` and in MLflow."""

SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 1)


def tables() -> Iterator[tuple[str, pd.DataFrame]]:
    """The name and the stages of each network."""
    train = load_params(Path(__file__).parents[1] / "params.yaml").train
    untrained = train.transfer.model_copy(update={"weights": "none"})  # the same layers, without a download
    for name in NETWORKS:
        yield (
            name,
            stage_table(layer_table(build(name, train.width, train.dropout, untrained, len(EMOTIONS), SHAPE), SHAPE)),
        )


def page(stages: dict[str, pd.DataFrame]) -> str:
    """The page as Markdown."""
    rows = [
        {
            "network": f"[{name}](#{name})",
            "parameters": f"{table['parameters'].sum():,}",
            "MFLOP per image": f"{table['mflops'].sum():,.0f}",
        }
        for name, table in stages.items()
    ]
    overview = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    sections = [f"## {name}\n\n![The layers of {name}](networks/{name}.png)" for name in stages]
    return "\n\n".join([START, overview, *sections]) + "\n"


def main() -> None:
    """Write the page, or print it with `--print`."""
    stages = dict(tables())
    if "--print" in sys.argv:
        print(page(stages), end="")
        return
    PICTURES.mkdir(exist_ok=True)
    for name, table in stages.items():
        draw_network(table, name, PICTURES / f"{name}.png")
    PAGE.write_text(page(stages))


if __name__ == "__main__":
    main()
