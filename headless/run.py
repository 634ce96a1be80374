"""The command `run`: workflows from file to files, with everything a person should hear about it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..core.errors import UserError
from ..nodes import folders, host
from .execute import Cache, NodeError, Outcome, execute
from .graph import Graph, read
from .overrides import apply
from .registry import Registry, everything, sockets
from .terminal import Terminal
from .validate import validate

DONE, FAILED, STOPPED = 0, 1, 130
"""Exit statuses; 130 is what shells give for a stop by Ctrl-C (128 + SIGINT)."""
EXAMPLES = folders.PACK / "examples"
UPLOADS = ("image_upload", "video_upload", "audio_upload")
"""Options that mark a combo as the name of an input file."""


def run_all(
    workflows: Sequence[Path],
    settings: Sequence[str] = (),
    outputs: Path = Path("output"),
    inputs: Path = Path("input"),
) -> int:
    """Runs workflow files one after another, as `run` does, until one does not end well; the last one's exit status.

    settings: for one workflow only, since nodes are numbered anew in each.
    """
    if settings and len(workflows) > 1:
        print("--set changes the nodes of one workflow; run the others by commands of their own.", file=sys.stderr)
        return FAILED
    status = DONE
    for workflow in workflows:
        status = run(workflow, settings, outputs, inputs)
        if status != DONE:
            break
    return status


def run(
    workflow: Path,
    settings: Sequence[str] = (),
    outputs: Path = Path("output"),
    inputs: Path = Path("input"),
    registry: Registry | None = None,
    cache: Cache | None = None,
) -> int:
    """Runs a workflow file and says what happened; the exit status.

    settings: 'NODE.INPUT=VALUE' each. outputs, inputs: folders. Input files are looked for beside the workflow, in
    `inputs`, and in the pack's examples. cache: kept by a caller who runs several times.
    """
    try:
        registry = everything() if registry is None else registry
        folders.use_folders(inputs, outputs)
        graph = read(workflow, registry)
        for setting in settings:
            graph = apply(graph, setting, registry)
        graph = find_files(graph, registry, (workflow.resolve().parent, inputs, EXAMPLES))
        graph = validate(graph, registry)
        with Terminal() as terminal:
            outcomes = execute(graph, registry, terminal, cache)
    except (UserError, NodeError) as error:
        print(error, file=sys.stderr)
        return FAILED
    except (KeyboardInterrupt, host.Cancelled):
        print("Stopped. Files finished before are complete; the one in work was not written.", file=sys.stderr)
        return STOPPED
    for line in results(graph, outcomes):
        print(line)
    return DONE


def find_files(graph: Graph, registry: Registry, places: Iterable[Path]) -> Graph:
    """The graph with the names of input files replaced by where they are; names not found anywhere stay.

    A mark such as 'face.png [output]' looks in that folder of the host only.
    """
    places = list(places)
    for node in graph.nodes.values():
        kind = registry.get(node.type)
        for name, socket in sockets(kind).items() if kind else ():
            value = node.inputs.get(name)
            if not isinstance(value, str) or not any(socket.options.get(flag) for flag in UPLOADS):
                continue
            bare, marked = folders.marked_folder(value)
            found = next((f / bare for f in ([marked] if marked else places) if (f / bare).is_file()), None)
            if found is not None:
                graph = graph.with_input(node.id, name, str(found.resolve()))
    return graph


def results(graph: Graph, outcomes: dict[str, Outcome]) -> list[str]:
    """A line for every file written and every text shown."""
    lines = []
    for node_id, outcome in outcomes.items():
        title = graph.nodes[node_id].title
        for shown in outcome.ui.values():
            for item in shown:
                if isinstance(item, dict) and "filename" in item:
                    lines.append(f"{title}: {folders.result_path(item)}")
                elif isinstance(item, str):
                    lines.append(f"{title}: {item}")
    return lines
