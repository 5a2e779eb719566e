"""Hostile presets: files of a folder that is brought in with --config-dir, by their names in it."""

_CALL = "{_target_: os.system, command: touch owned}"
_EVAL = """{"()": os.system, command: touch owned}"""


def _preset(text: str) -> dict[str, str]:
    return {"experiment/stranger.yaml": f"# @package _global_\n{text}\n"}


PRESETS: dict[str, tuple[dict[str, str], str]] = {
    "a callback": (_preset(f"hydra: {{callbacks: {{mine: {_CALL}}}}}"), r"hydra\.callbacks=.*os\.system"),
    "a launcher": (_preset("hydra: {launcher: {_target_: os.system}}"), r"hydra\.launcher=.*os\.system"),
    "an option of the launcher": (_preset(f"hydra: {{launcher: {{a: {_CALL}}}}}"), r"hydra\.launcher\.a"),
    "an option of the sweeper": (
        _preset(f"hydra: {{sweeper: {{params: {_CALL}}}}}"),
        r"hydra\.sweeper=.*os\.system",
    ),
    "an option of an option of the sweeper": (
        _preset(f"hydra: {{sweeper: {{params: {{seed: {_CALL}}}}}}}"),
        r"hydra\.sweeper=.*os\.system",
    ),
    "a swept variable of the environment": (
        _preset("hydra: {sweeper: {params: {seed: '${oc.env:SECRET}'}}}"),
        r"hydra\.sweeper=.*oc\.env:SECRET",
    ),
    "a swept part of Hydra": (
        _preset("hydra: {sweeper: {params: {+hydra.job.env_set.LD_PRELOAD: owned.so}}}"),
        r"hydra\.sweeper=.*LD_PRELOAD",
    ),
    "another sweeper": (_preset("hydra: {sweeper: {_target_: os.system}}"), r"hydra\.sweeper=.*os\.system"),
    "a log handler": (
        _preset(f"hydra: {{job_logging: {{handlers: {{a: {_EVAL}}}, root: {{handlers: [a]}}}}}}"),
        r"hydra\.job_logging=.*os\.system",
    ),
    "a log handler of Hydra's": (
        _preset("hydra: {hydra_logging: {handlers: {a: {class: subprocess.Popen, args: [touch, owned]}}}}"),
        r"hydra\.hydra_logging=.*subprocess\.Popen",
    ),
    "a callback in a group": (
        _preset("defaults:\n  - override /hydra/callbacks: mine")
        | {"hydra/callbacks/mine.yaml": f"# @package hydra.callbacks\nmine: {_CALL}\n"},
        r"hydra\.callbacks=.*os\.system",
    ),
    "a callback by a package": (
        _preset("defaults:\n  - /mine@hydra.callbacks.mine: call") | {"mine/call.yaml": f"a: {_CALL}\n"},
        r"hydra\.callbacks=.*os\.system",
    ),
    "an environment": (
        _preset("hydra: {job: {env_set: {LD_PRELOAD: owned.so}}}"),
        r"hydra\.job\.env_set=.*LD_PRELOAD",
    ),
    "a variable to copy": (_preset("hydra: {job: {env_copy: [SECRET]}}"), r"hydra\.job\.env_.*SECRET"),
    "a variable that is not there": (
        _preset("hydra: {job: {env_copy: [NOT_THERE]}}"),
        r"hydra\.job\.env_copy is refused: it names 'NOT_THERE'",
    ),
    "a search path": (_preset("hydra: {searchpath: [pkg://stranger]}"), "searchpath"),
    "a variable of the environment": (
        _preset("mine: ${oc.env:SECRET}"),
        r"mine=\$\{oc\.env:SECRET\} is refused",
    ),
    "a variable within a text": (
        _preset("mine: [{a: 'x ${seed} ${oc.env:SECRET}'}]"),
        r"mine\[0\]\.a=x .* is refused",
    ),
    "code to decode": (_preset("mine: \"${oc.decode:'[1]'}\""), r"mine=\$\{oc\.decode:.* is refused"),
    "a node to create": (_preset("mine: '${oc.create:{a: b}}'"), r"mine=\$\{oc\.create:.* is refused"),
    "a resolver by a reference": (_preset("mine: '${${init_from}:SECRET}'"), r"mine=.* is refused"),
    "references without end": (
        _preset("".join(f"a{i}: ${{a{i + 1}}}${{a{i + 1}}}${{a{i + 1}}}\n" for i in range(60)) + "a60: ha"),
        "a config may have 10 references, and has more",
    ),
    "an alias": (_preset("mine: &a [1]\nyours: *a"), r"alias \*a is refused"),
    "an object": (
        _preset("a: !!python/object/apply:os.system [touch owned]"),
        r"python/object/apply:os\.system",
    ),
    "a list": (_preset("- os.system"), "holds no config"),
}

# What train.yaml says wins, so that these change nothing.
OVERRULED: dict[str, dict[str, str]] = {
    "a log handler in a group": _preset("defaults:\n  - override /hydra/job_logging: mine")
    | {"hydra/job_logging/mine.yaml": f"version: 1\nhandlers: {{a: {_EVAL}}}\nroot: {{handlers: [a]}}\n"},
    "the folder of the run": _preset("hydra: {run: {dir: ../../owned}, job: {chdir: true}}"),
    "a folder of Hydra's": _preset("hydra: {output_subdir: ../../owned}"),
    "the seed": _preset("seed: 7"),
    "a config of the same name": _preset("mine: 1") | {"train.yaml": "seed: 7\nhydra: {run: {dir: owned}}"},
}
