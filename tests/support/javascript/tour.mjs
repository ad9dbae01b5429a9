// What a program in JavaScript asks of a sandbox; each line that it prints is one answer, as JSON.
import { Sandbox } from "e2b";

const say = (name, value) => console.log(JSON.stringify([name, value]));
const patience = 10_000;

const sandbox = await Sandbox.create("base", { timeoutMs: 120_000, metadata: { k: "a b&=é" }, envs: { GREETING: "hi" } });
try {
  say("running", await sandbox.isRunning());
  const heard = [];
  const ended = await sandbox.commands.run("echo $GREETING; echo oops >&2", { onStdout: (text) => heard.push(text) });
  say("command", [ended.exitCode, ended.stdout, ended.stderr, heard.join("")]);
  say("exit", await sandbox.commands.run("exit 3").catch((error) => error.exitCode));

  await sandbox.files.write([{ path: "a.txt", data: "one" }, { path: "deep/b.txt", data: "two" }]);
  say("read", [await sandbox.files.read("a.txt"), await sandbox.files.read("/home/user/deep/b.txt")]);
  say("list", (await sandbox.files.list(".")).map((entry) => [entry.name, entry.type]).sort());
  say("rename", (await sandbox.files.rename("a.txt", "c.txt")).name);
  say("exists", [await sandbox.files.exists("a.txt"), await sandbox.files.exists("c.txt")]);
  say("download", await (await fetch(await sandbox.downloadUrl("c.txt", { useSignatureExpiration: 60 }))).text());
  const form = new FormData();
  form.append("file", new Blob(["three"]), "up.txt");
  say("upload", (await fetch(await sandbox.uploadUrl("up.txt"), { method: "POST", body: form })).status);
  say("uploaded", await sandbox.files.read("up.txt"));

  let seen;
  const event = new Promise((resolve) => (seen = resolve));
  const watch = await sandbox.files.watchDir(".", (change) => change.name === "new.txt" && seen(change.type), { timeoutMs: 0 });
  await sandbox.files.write("new.txt", "x");
  say("watch", await Promise.race([event, new Promise((resolve) => setTimeout(resolve, patience, "nothing"))]));
  await watch.stop();

  let screen = "";
  const terminal = await sandbox.pty.create({ cols: 80, rows: 24, onData: (data) => (screen += new TextDecoder().decode(data)) });
  await sandbox.pty.resize(terminal.pid, { cols: 100, rows: 30 });
  await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode("stty size; exit\n"));
  await terminal.wait();
  say("terminal", screen.includes("30 100"));

  const background = await sandbox.commands.run("sleep 60", { background: true });
  say("processes", (await sandbox.commands.list()).some((process) => process.pid === background.pid));
  say("kill", await background.kill());

  say("metrics", (await sandbox.getMetrics()).length > 0);
  say("listed", (await Sandbox.list({ query: { metadata: { k: "a b&=é" } } }).nextItems()).map((row) => row.sandboxId === sandbox.sandboxId));
  say("pause", [await sandbox.pause(), await sandbox.pause()]);
  const again = await Sandbox.connect(sandbox.sandboxId);
  say("again", await again.files.read("c.txt"));
} finally {
  await sandbox.kill();
}
say("gone", await sandbox.isRunning());
