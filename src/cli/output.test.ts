/** Tests of what the command prints when something failed, and of what Ctrl-C does to work on trees. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { HoldfastError } from "../base/index.ts";
import { fail, jsonText, lineForTerminal } from "./output.ts";
import { interruptible, TreeReport } from "./tree-report.ts";

interface Said {
  out: string;
  error: string;
}

/** What is written to the standard streams meanwhile. */
function listen(t: TestContext): Said {
  const said = { out: "", error: "" };
  t.mock.method(process.stdout, "write", (text: string) => ((said.out += text), true));
  t.mock.method(process.stderr, "write", (text: string) => ((said.error += text), true));
  return said;
}

test("a name in a message is shown, and no terminal obeys it", (t) => {
  const said = listen(t);
  const error = new HoldfastError("notFound", "bucket:\u001b[2Jx\nerror: y\u009b1m\udc80 does not exist", {
    maybe: true,
  });
  assert.equal(fail(error, {}), 1);
  assert.match(
    said.error,
    /bucket:\\x1b\[2Jx\\nerror: y\\x9b1m\\x80 does not exist \(the change may have taken effect\)\n$/,
  );
  assert.equal(said.error.split("\n").length, 2);
  said.error = "";
  assert.equal(fail(error, { json: true }), 1);
  assert.doesNotMatch(said.error, /[\u007f-\u009f]/);
  assert.equal((JSON.parse(said.error) as { error: { message: string } }).error.message, error.message);
  assert.equal(jsonText({ a: "\u007f\u009b" }), '{"a":"\\u007f\\u009b"}');
  assert.equal(lineForTerminal("\ud800 \u2028 ä \u{1f600}\t"), "\\ud800 \\u2028 ä \u{1f600}\\t");
});

const handlerCount = () => process.listenerCount("SIGINT") + process.listenerCount("SIGTERM");

test("Ctrl-C stops the work, says what is known of it, and leaves nothing behind", async () => {
  const before = handlerCount();
  for (const maybe of [false, true]) {
    const work = (signal: AbortSignal) =>
      new Promise<void>((_, reject) => {
        signal.addEventListener("abort", () => reject(new HoldfastError("cancelled", "aborted", { maybe })));
        assert.equal(handlerCount(), before + 2);
        process.emit("SIGINT");
      });
    const message = maybe ? "stopped before the store had answered" : "stopped: nothing was stored";
    await assert.rejects(interruptible("nothing was stored", work), { code: "cancelled", message, maybe });
    assert.equal(handlerCount(), before);
  }
  assert.equal(await interruptible("", async () => "done"), "done");
  await assert.rejects(
    interruptible("", () => Promise.reject(new Error("its own"))),
    /its own/,
  );
  assert.equal(handlerCount(), before);
});

function tell(options: { readonly json?: boolean; readonly dryRun?: boolean }): void {
  const report = new TreeReport("syncing", { ...options, wide: true });
  report.tell({ type: "upload", path: "a" });
  report.tell({ type: "conflict", path: "x", other: "x (conflict B)" });
  report.tell({ type: "skipped", path: "\u001b", error: new HoldfastError("invalid", "it is a pipe") });
  report.warn("another\u001bstore");
}

test("a sync tells of conflicts and of what it skips, also when it says little", (t) => {
  const said = listen(t);
  tell({});
  assert.deepEqual(said, {
    out: "",
    error: "conflict x -> x (conflict B)\nskipped \\x1b (it is a pipe)\nwarning: another\\x1bstore\n",
  });
  Object.assign(said, { out: "", error: "" });
  tell({ json: true });
  assert.equal(said.error, "");
  assert.deepEqual(
    said.out
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { event: string }).event),
    ["conflict", "skipped", "warning"],
  );
  Object.assign(said, { out: "", error: "" });
  tell({ dryRun: true });
  assert.match(said.out, /^upload +a\nconflict +x -> x \(conflict B\)\nskipped +\\x1b \(it is a pipe\)\n$/);
});
