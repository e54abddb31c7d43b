/** Runs commands of the user's, with their input and output those of this process. */
import { spawn } from "node:child_process";
import { HoldfastError } from "../base/index.ts";
import type { Hold } from "../member/index.ts";
import { ChildEnded } from "./output.ts";

/** The exit status of the command, 128 if a signal ended it. It gets SIGTERM when one of the signals aborts. */
export async function runChild(
  [file = "", ...args]: readonly string[],
  variables: Readonly<Record<string, string>>,
  signals: readonly AbortSignal[],
): Promise<number> {
  const child = spawn(file, args, { stdio: "inherit", env: { ...process.env, ...variables } });
  const end = () => void child.kill("SIGTERM");
  for (const signal of signals) {
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
  }
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once("error", (error) => reject(new HoldfastError("invalid", `cannot run ${file}: ${error.message}`)));
      child.once("exit", (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
    });
  } finally {
    for (const signal of signals) signal.removeEventListener("abort", end);
  }
}

/** The command gets SIGTERM when what it runs under is lost, or when this process is interrupted. */
export async function runUnder(hold: Hold, words: readonly string[], interrupted: AbortSignal): Promise<void> {
  let status: number;
  try {
    status = await runChild(words, { HOLDFAST_FENCE: String(hold.fence) }, [hold.signal, interrupted]);
  } finally {
    await hold.release();
  }
  if (hold.isLost) throw hold.signal.reason as HoldfastError;
  if (status !== 0) throw new ChildEnded(status);
}
