"""Register the evaluated SavedModel as a new version in MLflow's registry.

    python -m emotion.register

Reads models/, reports/metrics.json and `params: register`; writes models/registered.json
and models/model_card/.
"""

from emotion import params
from emotion.runtime.errors import exit_cleanly
from emotion.runtime.paths import MODEL_CARD, REGISTERED, write_json


def main() -> None:
    """The stage."""
    settings = params.load()
    from emotion.registry.registration import register_trained  # MLflow, after the parameters are checked

    registered = register_trained(settings, MODEL_CARD)
    write_json(REGISTERED, registered)
    name, version = registered["name"], registered["version"]
    print(f"{name} version {version}. `emotion promote {version}` makes it the champion.")


if __name__ == "__main__":
    exit_cleanly("register", main)
