"""The image component of the demo. Gradio writes a stub file next to it, which git ignores."""

import re
from pathlib import Path

import gradio as gr
from gradio.data_classes import ImageData

from emotion.data.preparation.images import RGBImage, TooLargeImageError, UnreadableImageError, load_image


class UploadedImage(gr.Image):
    """An image component that accepts only uploads, and checks them before decoding."""

    is_template = True  # Gradio shows it as its parent class

    def preprocess(self, payload: ImageData | None) -> RGBImage | None:
        """The pixels of an upload, (height, width, 3) uint8."""
        if payload is None:
            return None
        try:
            return load_image(Path(payload.path or "").read_bytes())
        except (FileNotFoundError, IsADirectoryError):
            raise gr.Error("Your image has expired. Please upload it again.", print_exception=False) from None
        except TooLargeImageError:
            raise gr.Error("This image cannot be used: it is too large.", print_exception=False) from None
        except UnreadableImageError:
            message = "This image cannot be used: it is not a readable image file."
            raise gr.Error(message, print_exception=False) from None

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> str | None:
        """Reject URLs, because Gradio would fetch any address."""
        if url_or_file_path is not None and re.match(r"\s*[a-z][a-z0-9+.-]*:", str(url_or_file_path), re.IGNORECASE):
            raise gr.Error("This image cannot be used: upload it as a file, not as a URL.", print_exception=False)
        return await super().async_move_resource_to_block_cache(url_or_file_path)
