"""Build a template by steps with the e2b package, and start a sandbox of it."""

from pathlib import Path

from e2b import Sandbox, Template

template = (
    Template(file_context_path=Path(__file__).parent)
    .from_template("base")
    .set_envs({"GREETING": "hello"})
    .set_workdir("/home/user/app")
    .copy("build_template.py", "code/")
    .run_cmd("python3 -m compileall -q code")
    .run_cmd("ln -sf /usr/bin/env /usr/local/bin/surroundings", user="root")
)
Template.build(template, "my-template:v1", tags=["stable"], cpu_count=1, memory_mb=512)

with Sandbox.create("my-template:stable") as sandbox:
    print(sandbox.commands.run("pwd; ls code; surroundings | grep GREETING").stdout, end="")
