/**
 * The command as a person types it, many times in one process of its own: starting one for each takes half a second of
 * computing. What the process itself does (signals, pipes, exit) is tested with those of command.suite.ts.
 */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import type { Outcome, RunOptions } from "./command.suite.ts";

export interface ProgramRequest {
  readonly args: readonly string[];
  readonly endpoint?: string | undefined;
  readonly directory?: string | undefined;
  readonly input: string | Uint8Array;
}

export type ProgramOutcome = Outcome | { readonly failure: string };

export class Program {
  readonly #process: ChildProcess;
  /** In the order in which they were asked for, which is that of the answers. */
  readonly #waiting: PromiseWithResolvers<ProgramOutcome>[] = [];

  /** Ends with the test file. */
  constructor() {
    const { HOLDFAST_ENDPOINT: _, HOLDFAST_PASSPHRASE: __, FORCE_COLOR: ___, ...environment } = process.env;
    const path = fileURLToPath(new URL("program-process.suite.ts", import.meta.url));
    const env = { ...environment, NO_COLOR: "1" };
    this.#process = fork(path, { env, serialization: "advanced", stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#process.on("message", (outcome: ProgramOutcome) => this.#waiting.shift()?.resolve(outcome));
    this.#process.on("close", (status) => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`the program ended with ${status}`));
    });
    after(() => void this.#process.kill("SIGKILL"));
  }

  /** One at a time, in the order of the calls. */
  async run(args: readonly string[], { endpoint, directory, input = "" }: RunOptions = {}): Promise<Outcome> {
    const waiting = Promise.withResolvers<ProgramOutcome>();
    this.#waiting.push(waiting);
    const request: ProgramRequest = { args, endpoint, directory, input };
    this.#process.send(request);
    const outcome = await waiting.promise;
    if ("failure" in outcome) throw new Error(outcome.failure);
    return outcome;
  }

  /** Runs a command that must succeed, and gives what it printed. */
  async succeed(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const { status, stdout, stderr } = await this.run(args, options);
    assert.equal(status, 0, `holdfast ${args.join(" ")}: exit status ${status}\n${stderr}`);
    return stdout;
  }

  /** Runs a command that must fail with this status, and gives what it said on standard error. */
  async failWith(wanted: number, args: readonly string[], options: RunOptions = {}): Promise<string> {
    const { status, stdout, stderr } = await this.run(args, options);
    assert.equal(status, wanted, `holdfast ${args.join(" ")}: exit status ${status}\n${stdout}${stderr}`);
    assert.equal(stdout, "", "a failure prints nothing on standard output");
    return stderr;
  }
}
