"""Register the evaluated SavedModel as a new version in MLflow's registry.

    python -m emotion.register

Reads data/faces/, models/, reports/ and `params: register`; writes models/registered.json and
models/model_card/.
"""

from contextlib import ExitStack

from emotion.params.load import load_params
from emotion.runtime.errors import run_main
from emotion.runtime.files import write_json
from emotion.runtime.paths import MODEL_CARD, REGISTERED


def main(exit_callbacks: ExitStack) -> None:
    """Run the stage."""
    params = load_params()
    from emotion.registry.registration import register_trained  # MLflow, after the parameters are checked

    registered = register_trained(params, MODEL_CARD, exit_callbacks)
    write_json(REGISTERED, registered.model_dump())
    print(
        f"Registered {registered.name} version {registered.version}. Run `emotion promote {registered.version}` to make"
        " it the champion."
    )


if __name__ == "__main__":
    run_main("register", main)
