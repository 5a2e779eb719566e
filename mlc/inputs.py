"""What a backbone must know about the inputs before it is built."""

from dataclasses import dataclass, field
from typing import Literal

from mlc.errors import UserError

Kind = Literal["numbers", "pictures", "tokens", "sparse"]
MAIN = "x"  # the main input; the others join it at a layer

_PLURAL = {
    "numbers": "numbers",
    "pictures": "pictures",
    "tokens": "texts as tokens",
    "sparse": "sparse numbers",
}


@dataclass(frozen=True)
class InputSpec:
    """One named input of an example.

    Args:
        kind: "numbers" and "pictures" are dense float32, "tokens" int64 ids padded at the end, "sparse" a
            SparseRows.
        shape: of one example: (D,), (channels, height, width), (longest text T,), (D,).
        vocabulary: tokens have ids from 0 to vocabulary - 1.
        padding: the id that fills a text up to the longest of its batch.
        encoder: what a backbone must know of the text encoder to be built, and built again, as JSON text: an
            object, the config of a pretrained model; or a list, the word of every id, null where an id is no
            word. "" if there is nothing to know.
        unknown: the id of every word that the vocabulary lacks; None if there is no such id.
    """

    kind: Kind
    shape: tuple[int, ...]
    vocabulary: int = 0
    padding: int = 0
    encoder: str = field(default="", repr=False)  # may be long
    unknown: int | None = None


def require_kind(spec: InputSpec, *accepted: Kind, backbone: str) -> InputSpec:
    """The same spec, if a backbone can read inputs of its kind.

    Raises:
        UserError: it cannot; says which backbones can.
    """
    if spec.kind in accepted:
        return spec
    wanted = " or ".join(_PLURAL[kind] for kind in accepted)
    raise UserError(
        f"backbone={backbone} reads {wanted}, and this data set has {_PLURAL[spec.kind]} of the shape "
        f"{spec.shape}: {_ADVICE[spec.kind]}"
    )


_ADVICE: dict[Kind, str] = {
    "numbers": "use backbone=mlp or backbone=linear",
    "pictures": "use backbone=cnn, backbone=mlp or backbone=linear",
    "tokens": "use backbone=text_cnn, backbone=lstm or another for texts, or text=tfidf for numbers",
    "sparse": "use backbone=mlp or backbone=linear, or text=words for tokens",
}
