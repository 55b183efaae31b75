"""Register the evaluated SavedModel as a new version in MLflow's registry.

    python -m emotion.register

Reads data/faces/, models/, reports/ and `params: register`; writes models/registered.json and
models/model_card/.
"""

from contextlib import ExitStack

from emotion.params.load import load_params
from emotion.runtime.errors import run_main
from emotion.runtime.files import read_json, write_json
from emotion.runtime.paths import MODEL_CARD, REGISTERED, SAVED_MODEL, SCORES


def main(exit_callbacks: ExitStack) -> None:
    """Run the stage."""
    params = load_params()
    from emotion.registry.model_card.exports import measure_exports
    from emotion.registry.registration import register_trained  # MLflow, after the parameters are checked
    from emotion.tracking.records import Scores

    exports = measure_exports(SAVED_MODEL) if params.register_.exports else None
    registered = register_trained(params, MODEL_CARD, exit_callbacks, exports)
    write_json(REGISTERED, registered.model_dump())
    accuracy = read_json(SCORES, "Run `dvc repro --force evaluate`.", Scores)["test"]["accuracy"]
    print(f"Registered {registered.name} version {registered.version}, with a test accuracy of {accuracy:.1%}.")
    least = params.register_.gate.min_accuracy
    if accuracy < least:
        print(f"The gate would reject it: it asks for a test accuracy of at least {least:.1%} (register.gate).")
    else:
        print(f"`emotion promote {registered.version}` makes it the champion if it passes the gate.")


if __name__ == "__main__":
    run_main("register", main)
