from ppio_sandbox import Sandbox

with Sandbox.create("base") as sandbox:
    sandbox.files.write("hello.py", "print('hello from inside')")
    print(sandbox.commands.run("python3 hello.py").stdout)
