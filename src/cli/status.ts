/** `holdfast status`: one store at a glance. */
import type { Command } from "commander";
import { toHex } from "../base/index.ts";
import type { MemberList, StoreStatus } from "../member/index.ts";
import { bytesText, countText, durationText, plural, printJson, printLine, table } from "./output.ts";
import { addTargetOptions, withMember } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addTargetOptions(command)
    .addHelpText("after", "\nExamples:\n  $ holdfast status\n  $ holdfast status --data ./holdfast-data --json")
    .action(async (options: TargetOptions) => {
      await withMember(options, async (store) => {
        const status = await store.status();
        const list = await store.members.list();
        const cluster = list.cluster === "" ? {} : { cluster: list };
        if (options.json) await printJson({ ...status, rootHash: toHex(status.rootHash), ...cluster });
        else await printLine(table([...statusRows(status), ...clusterRows(list)]));
      });
    });
}

function statusRows(status: StoreStatus): string[][] {
  const behind = status.logTail - status.applied;
  return [
    ["member", `${status.name}, Holdfast ${status.version}, up ${durationText(status.uptimeMs)}`],
    ["revision", `${countText(status.revision)} (readable from ${countText(status.compactRevision)})`],
    [
      "holds",
      [
        plural(status.keyCount, "key"),
        plural(status.leaseCount, "lease"),
        plural(status.sessionCount, "session"),
        plural(status.watcherCount, "watcher"),
      ].join(", "),
    ],
    [
      "log",
      `positions ${countText(status.logStart)} to ${countText(status.logTail)}, durability ${status.durability}, ${behind === 0 ? "all applied" : `${countText(behind)} not yet applied`}`,
    ],
    [
      "checkpoint",
      `at position ${countText(status.checkpointPosition)}, revision ${countText(status.checkpointRevision)}, root ${toHex(status.rootHash).slice(0, 16) || "(empty)"}`,
    ],
    [
      "blobs",
      `${countText(status.blobCount)}, ${bytesText(status.blobSize)} on disk, ${bytesText(status.blobGarbageSize)} of it garbage`,
    ],
    [
      "chunks",
      `${countText(status.chunkCount)} of files, ${bytesText(status.chunkSize)} on disk, ${bytesText(status.chunkGarbageSize)} of it garbage`,
    ],
    [
      "memory",
      `${bytesText(status.cacheSize)} of tree pages, and ${bytesText(status.dirtySize)} not yet in a checkpoint`,
    ],
  ];
}

/** Who takes part and who leads; nothing for a store on its own. */
function clusterRows({ cluster, members, leader, term }: MemberList): string[][] {
  if (cluster === "") return [];
  const leads = members.find(({ id }) => id === leader);
  const names = members.map(({ name, role }) => (role === "voter" ? name : `${name} (${role})`)).toSorted();
  return [
    ["cluster", `${plural(members.length, "member")}: ${names.join(", ")}`],
    ["leader", leads === undefined ? "none is known" : `${leads.name}, term ${countText(term)}`],
  ];
}
