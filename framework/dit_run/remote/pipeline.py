"""The pipeline of an exported folder: the sampling of dit-run as a pipeline of diffusers, without dit-run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput

from dit_run.compute.precision import Precision
from dit_run.model.codec import caption_conditions
from dit_run.model.conditioning import SeveralCaptions
from dit_run.model.denoiser import Denoiser
from dit_run.model.guided_prediction import GuidanceSettings
from dit_run.model.state_format import StateFormat
from dit_run.protocols import Routed
from dit_run.sampling.pipeline import Pipeline
from dit_run.sampling.sampling_request import SamplingRequest

__all__ = ["DitRunPipeline"]


class DitRunPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Images from prompts with a model trained by dit-run.

    The same prompts, seed and settings give the images of ``dit-run sample``: image i starts from the noise of
    seed + i, drawn by a counter-based generator (Philox) on the CPU, whatever the device and the batch are.
    """

    factory: Callable[..., Any]
    """That of the guidance."""
    options: Any
    """Options of the guidance."""
    model_cpu_offload_seq = "text_encoder->text_encoder_2->text_encoder_3->text_encoder_4->transformer->vae"
    _optional_components: ClassVar[list[str]] = ["text_encoder_2", "text_encoder_3", "text_encoder_4"]

    def __init__(
        self,
        transformer: Any,
        text_encoder: Any,
        vae: Any,
        scheduler: Any,
        text_encoder_2: Any = None,
        text_encoder_3: Any = None,
        text_encoder_4: Any = None,
        mixed_precision: str = "no",
        image_size: int = 256,
        sampling: dict[str, Any] | None = None,
        scalars: dict[str, float] | None = None,
        text_dtype: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """Keep the parts and the format of text states.

        ``sampling`` and ``scalars`` hold the settings that a call does not give.
        """
        super().__init__()
        self.register_modules(
            transformer=transformer,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            text_encoder_3=text_encoder_3,
            text_encoder_4=text_encoder_4,
            vae=vae,
            scheduler=scheduler,
        )
        self.register_to_config(
            mixed_precision=mixed_precision,
            image_size=image_size,
            sampling=sampling,
            scalars=scalars or {},
            text_dtype=text_dtype,
            max_tokens=max_tokens,
        )

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str = "",
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | Sequence[float] | None = None,
        guidance_rescale: float | None = None,
        guidance_interval: Sequence[float] | None = None,
        sampler: str | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        scalars: Mapping[str, float] | None = None,
        num_images_per_prompt: int = 1,
        batch_size: int = 16,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Return one image per prompt, or ``num_images_per_prompt``; what is None comes from the training config.

        ``guidance_scale`` is one number for all images, or one for each. ``seed`` decides all noise; a ``generator``
        stands for the seed that it was made with. ``batch_size`` images are made at a time. ``scalars`` are values of
        numbers that the model takes. ``output_type`` is ``pil``, ``np`` (float in [0, 1]) or ``pt``.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        given = {
            "steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "guidance_rescale": guidance_rescale,
            "guidance_interval": guidance_interval,
            "sampler": sampler,
            "seed": generator.initial_seed() if seed is None and generator is not None else seed,
        }
        settings = {**self.config.sampling, **{name: value for name, value in given.items() if value is not None}}
        scale, (low, high) = settings["guidance_scale"], settings["guidance_interval"]
        request = SamplingRequest(
            prompts=tuple(each for each in prompts for _ in range(num_images_per_prompt)),
            height=height or self.config.image_size,
            width=width or self.config.image_size,
            sampler=settings["sampler"],
            steps=settings["steps"],
            guidance=GuidanceSettings(
                tuple(scale) if isinstance(scale, Sequence) else scale, settings["guidance_rescale"], (low, high)
            ),
            seed=settings["seed"],
            negative_prompt=negative_prompt,
            batch_size=batch_size,
            scalars=scalars or {},
        )
        images: Any = list(self._sampling().images(request))
        self.maybe_free_model_hooks()
        if output_type != "pil":
            images = VaeImageProcessor.pil_to_numpy(images)
            images = VaeImageProcessor.numpy_to_pt(images) if output_type == "pt" else images
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _sampling(self) -> Pipeline:
        """Return the sampling of dit-run with these parts, in the precision of training or the parts' lower one."""
        device, dtype = self._execution_device, self.transformer.dtype
        precision = Precision.of(self.config.mixed_precision, device)
        if dtype != torch.float32:
            precision = Precision(device.type, dtype)
        held = (self.text_encoder, self.text_encoder_2, self.text_encoder_3, self.text_encoder_4)
        texts = [text for text in held if text is not None]
        form = StateFormat.named(self.config.text_dtype, self.config.max_tokens)
        weaker = getattr(self.options, "weaker", None)
        conditions = [caption_conditions(text, precision.dtype, form) for text in texts]
        return Pipeline(
            denoiser=Denoiser(self.transformer, *(text if text.trainable else None for text in texts)),
            conditions=conditions[0] if len(texts) == 1 else SeveralCaptions(conditions),
            vae=self.vae,
            scheduler_of=self.scheduler.process,
            guidance=type(self).factory(self.options),
            device=device,
            precision=precision,
            scalars=self.config.scalars,
            routed=weaker if isinstance(weaker, Routed) else None,
        )
