"""Stands in for `comfy_api.latest.io`: sockets, schemas and the base class of nodes, with the same V1 view.

Source of names, options and dictionary keys: ComfyUI 0.8.0, `comfy_api/latest/_io.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

SAME = ""
"""In a table of options: the V1 dictionary uses the option's own name."""

COMMON = {"display_name": SAME, "tooltip": SAME, "lazy": SAME, "raw_link": "rawLink"}
WIDGET = {**COMMON, "default": SAME, "socketless": SAME, "force_input": "forceInput"}
NUMBER = {**WIDGET, "min": SAME, "max": SAME, "step": SAME, "display_mode": "display"}
"""Options an input takes -> their keys in the V1 dictionary. `optional` and `extra_dict` are taken by all."""


class FolderType(str, Enum):
    """Where a file of the host lies."""

    input = "input"
    output = "output"
    temp = "temp"


class UploadType(str, Enum):
    """What a file widget offers to upload; the value is its flag in the V1 dictionary."""

    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class NumberDisplay(str, Enum):
    """How a number's widget looks."""

    number = "number"
    slider = "slider"


class Hidden(str, Enum):
    """What the host passes to a node beside its inputs."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"


class Input:
    """An input of a schema; options beyond its type's table raise TypeError, as a wrong keyword does in ComfyUI."""

    io_type: str
    keys: Mapping[str, str] = COMMON

    def __init__(
        self, id: str, *, optional: bool = False, extra_dict: dict[str, Any] | None = None, **options: Any
    ) -> None:
        for name in options:
            if name not in self.keys:
                raise TypeError(f"{self.io_type} input '{id}' got an unexpected option '{name}'")
        self.id, self.optional, self.extra_dict = id, optional, dict(extra_dict or {})
        self.options = options

    def get_io_type(self) -> str:
        return self.io_type

    def as_dict(self) -> dict[str, Any]:
        """The options as the V1 dictionary holds them; None means not given."""
        named = {self.keys[name] or name: value for name, value in self.options.items()}
        return {key: value for key, value in {**named, **self.extra_dict}.items() if value is not None}


class Output:
    """An output of a schema."""

    io_type: str

    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        self.id, self.display_name = id, display_name or id
        self.tooltip, self.is_output_list = tooltip, is_output_list


def _socket(io_type: str, keys: Mapping[str, str] = COMMON, base: type[Input] = Input) -> type:
    """A socket type with its `Input` and `Output`."""
    return type(
        io_type,
        (),
        {
            "io_type": io_type,
            "Input": type("Input", (base,), {"io_type": io_type, "keys": keys}),
            "Output": type("Output", (Output,), {"io_type": io_type}),
        },
    )


class _StringInput(Input):
    def as_dict(self) -> dict[str, Any]:
        return {"multiline": False, **super().as_dict()}


class _ComboInput(Input):
    def __init__(self, id: str, options: Sequence[Any] | type[Enum] | None = None, **others: Any) -> None:
        if isinstance(options, type):
            options = [member.value for member in options]
        if isinstance(others.get("default"), Enum):
            others["default"] = others["default"].value
        super().__init__(id, **others)
        self.options["options"] = None if options is None else list(options)

    def as_dict(self) -> dict[str, Any]:
        found = {"multiselect": False, **super().as_dict()}
        upload = found.pop("upload", None)
        if upload is not None:
            found[upload.value] = True
        if "image_folder" in found:
            found["image_folder"] = found["image_folder"].value
        return found


class _MultiInput(Input):
    """An input for several types; given another input, it takes that one's widget."""

    def __init__(self, id: str | Input, types: Sequence[type], **options: Any) -> None:
        self.widget = id if isinstance(id, Input) else None
        self.types = list(types)
        if self.widget is not None:
            options = {"optional": self.widget.optional, **options}
        super().__init__(id if self.widget is None else self.widget.id, **options)

    def get_io_type(self) -> str:
        first = [self.widget.get_io_type()] if self.widget is not None else []
        return ",".join(dict.fromkeys([*first, *(kind.io_type for kind in self.types)]))

    def as_dict(self) -> dict[str, Any]:
        if self.widget is None:
            return super().as_dict()
        return {**self.widget.as_dict(), "widgetType": self.widget.get_io_type(), **super().as_dict()}


Boolean = _socket("BOOLEAN", {**WIDGET, "label_on": SAME, "label_off": SAME})
Int = _socket("INT", {**NUMBER, "control_after_generate": SAME})
Float = _socket("FLOAT", {**NUMBER, "round": SAME})
String = _socket(
    "STRING",
    {**WIDGET, "multiline": SAME, "placeholder": SAME, "dynamic_prompts": "dynamicPrompts"},
    _StringInput,
)
Combo = _socket(
    "COMBO",
    {
        **{name: key for name, key in WIDGET.items() if name != "force_input"},
        "options": SAME,
        "control_after_generate": SAME,
        "upload": SAME,
        "image_folder": SAME,
    },
    _ComboInput,
)
Image = _socket("IMAGE")
Mask = _socket("MASK")
Audio = _socket("AUDIO")
Video = _socket("VIDEO")
Mesh = _socket("MESH")
AnyType = _socket("*")
MultiType = _socket("COMFY_MULTITYPED_V3", COMMON, _MultiInput)


def Custom(io_type: str) -> type:  # noqa: N802 - ComfyUI's name
    """A socket type of one's own; types are matched by their string."""
    return _socket(io_type)


@dataclass
class Schema:
    """What a node is: its names, inputs, outputs and flags."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False

    def validate(self) -> None:
        """ValueError for ids that occur twice."""
        for kind, ids in (("Input", [i.id for i in self.inputs]), ("Output", [o.id for o in self.outputs])):
            twice = sorted({name for name in ids if ids.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} ids must be unique, but {twice} are not.")

    def finalize(self) -> None:
        """Output nodes get the prompt, outputs without an id a default one."""
        if self.is_output_node:
            for hidden in (Hidden.prompt, Hidden.extra_pnginfo):
                if hidden not in self.hidden:
                    self.hidden.append(hidden)
        for index, output in enumerate(self.outputs):
            if output.id is None:
                output.id = f"_{index}_{output.io_type}_"


@dataclass(frozen=True)
class HiddenHolder:
    """The hidden values of one execution, None where the host gave none."""

    unique_id: str | None = None
    prompt: Any = None
    extra_pnginfo: Any = None
    dynprompt: Any = None

    @classmethod
    def from_dict(cls, values: Mapping[Any, Any] | None) -> HiddenHolder:
        return cls(**{hidden.name: (values or {}).get(hidden) for hidden in Hidden})


class NodeOutput:
    """What `execute` returns: one value an output, and what the node shows on itself."""

    def __init__(
        self, *args: Any, ui: Any = None, expand: dict | None = None, block_execution: str | None = None
    ) -> None:
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    @property
    def result(self) -> tuple | None:
        return self.args or None

    def __getitem__(self, index: int) -> Any:
        return self.args[index]


class _NodeClass(type):
    """Refuses assignment to node classes (ComfyUI locks them while they run) and gives them the V1 view."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise AttributeError(f"Cannot modify class attribute '{name}' on locked class '{cls.__name__}'")

    def _of_outputs(cls, value: Any) -> list[Any]:
        return [value(output) for output in cls.GET_SCHEMA().outputs]

    FUNCTION = property(lambda cls: "EXECUTE_NORMALIZED")
    CATEGORY = property(lambda cls: cls.GET_SCHEMA().category)
    DESCRIPTION = property(lambda cls: cls.GET_SCHEMA().description)
    OUTPUT_NODE = property(lambda cls: cls.GET_SCHEMA().is_output_node)
    INPUT_IS_LIST = property(lambda cls: cls.GET_SCHEMA().is_input_list)
    RETURN_TYPES = property(lambda cls: cls._of_outputs(lambda o: o.io_type))
    RETURN_NAMES = property(lambda cls: cls._of_outputs(lambda o: o.display_name or o.io_type))
    OUTPUT_IS_LIST = property(lambda cls: cls._of_outputs(lambda o: o.is_output_list))
    OUTPUT_TOOLTIPS = property(lambda cls: cls._of_outputs(lambda o: o.tooltip or None))


class ComfyNode(metaclass=_NodeClass):
    """Base class of all nodes; a subclass has `define_schema` and `execute`, both classmethods."""

    RELATIVE_PYTHON_MODULE = None
    hidden = HiddenHolder()

    @classmethod
    def GET_SCHEMA(cls) -> Schema:  # noqa: N802 - ComfyUI's name, as those below
        for name in ("define_schema", "execute"):
            if not hasattr(cls, name):
                raise TypeError(f"No {name} function was defined for node class {cls.__name__}.")
        schema = cls.define_schema()
        schema.finalize()
        schema.validate()
        return schema

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:  # noqa: N802
        schema = cls.GET_SCHEMA()
        found: dict[str, dict[str, tuple]] = {"required": {}}
        for item in schema.inputs:
            found.setdefault("optional" if item.optional else "required", {})[item.id] = (
                item.get_io_type(),
                item.as_dict(),
            )
        for hidden in schema.hidden:
            found.setdefault("hidden", {})[hidden.name] = (hidden.value,)
        return found

    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict[str, Any]:  # noqa: N802
        """What the server tells the browser about this node."""
        schema, inputs = cls.GET_SCHEMA(), cls.INPUT_TYPES()
        return {
            "input": inputs,
            "input_order": {group: list(items) for group, items in inputs.items()},
            "output": cls.RETURN_TYPES,
            "output_is_list": cls.OUTPUT_IS_LIST,
            "output_name": cls.RETURN_NAMES,
            "output_tooltips": cls.OUTPUT_TOOLTIPS,
            "output_matchtypes": None,
            "name": schema.node_id,
            "display_name": schema.display_name,
            "description": schema.description,
            "python_module": cls.RELATIVE_PYTHON_MODULE or "nodes",
            "category": schema.category,
            "output_node": schema.is_output_node,
            "deprecated": schema.is_deprecated,
            "experimental": schema.is_experimental,
            "api_node": schema.is_api_node,
        }

    @classmethod
    def PREPARE_CLASS_CLONE(cls, v3_data: Mapping[str, Any] | None) -> type[ComfyNode]:  # noqa: N802
        """A copy of the class for one execution, with its hidden values."""
        hidden = HiddenHolder.from_dict((v3_data or {}).get("hidden_inputs"))
        return type(cls)(f"{cls.__name__}Clone", (cls,), {"hidden": hidden})

    @classmethod
    def EXECUTE_NORMALIZED(cls, *args: Any, **kwargs: Any) -> NodeOutput:  # noqa: N802
        """`execute`, its result as a NodeOutput; a bare value is refused."""
        if inspect.iscoroutinefunction(cls.execute):
            raise TypeError(f"{cls.__name__}.execute is a coroutine, which this stand-in does not run.")
        result = cls.execute(*args, **kwargs)
        if result is None:
            return NodeOutput()
        if isinstance(result, NodeOutput):
            return result
        if isinstance(result, tuple):
            return NodeOutput(*result)
        if isinstance(result, dict):
            return NodeOutput(*result.get("result", ()), ui=result.get("ui"), expand=result.get("expand"))
        raise TypeError(f"Invalid return type from node: {type(result)}")
