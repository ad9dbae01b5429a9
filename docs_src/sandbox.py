from ppio_sandbox import Sandbox

with Sandbox.create("base") as sandbox:
    sandbox.commands.run("echo 'print(6 * 7)' > answer.py")
    print(sandbox.commands.run("python3 answer.py").stdout)
