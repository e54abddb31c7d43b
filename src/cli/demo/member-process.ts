/**
 * One member of the demo, as a process of its own: `holdfast start` with a network that goes through the demo's relay.
 *
 *   node member-process.ts RELAY NAME [options of holdfast start]
 *
 * It ends with the process that started it, whatever ended that: then its standard input is over.
 */
import { Command } from "commander";
import { nodeEnv } from "../../host/index.ts";
import { fail } from "../output.ts";
import { addTo } from "../start.ts";
import { RelayedNet } from "./relayed-net.ts";

const [, , relay = "", name = "", ...words] = process.argv;
process.stdin.on("end", () => process.exit(1)).resume();
const command = new Command("start");
addTo(command, (options) => {
  const env = nodeEnv(options);
  return { ...env, net: new RelayedNet(env.net, relay, name) };
});
try {
  await command.parseAsync(words, { from: "user" });
  process.exit(0);
} catch (error) {
  process.exit(fail(error, {}));
}
