"""The web demo, and the Hugging Face Space that runs it.

Importing this package turns off Gradio's analytics before Gradio itself is imported.
"""

import os

os.environ.update(GRADIO_ANALYTICS_ENABLED="False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
