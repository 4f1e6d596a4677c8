import { asRawstorError } from '../../src/common/errors.js';
import { makePlan, type OstScan, scanOst } from '../../src/mds/index.js';
import type { Cluster } from './cluster.js';
import { connectOst } from './peer.js';
import { SimProcess } from './process.js';

const CALL_TIMEOUT_MS = 2000;
const RETRY_MS = 500;
/** How long an MDS that does not know a volume goes on. */
const RELOST_MS = 12_000;

/**
 * The MDS is gone with all it had, and made anew from what the OSTs keep: one is asked after the other while writers go
 * on, so that what they say is of no one moment.
 */
export function loseMds(cluster: Cluster): void {
  const { world, mds } = cluster;
  if (!mds.process?.alive || cluster.olderCopies !== null) return;
  mds.kill();
  mds.rebuilding = true;
  const process = new SimProcess(world, 'rebuilder');
  const attempt = () => {
    rebuild(cluster, process).then(
      () => {
        mds.rebuilding = false;
        world.count('rebuilds');
        mds.start();
      },
      (error) => {
        const failure = asRawstorError(error);
        if (failure.code === 'INTERNAL') world.fail(`rebuild: ${failure.message}`);
        world.count('rebuildsTriedAgain');
        process.later(RETRY_MS, 'rebuilds again', attempt);
      },
    );
  };
  process.later(world.between(1, 3000), 'rebuilds', attempt);
}

/** @throws RawstorError when an OST does not answer */
async function rebuild(cluster: Cluster, process: SimProcess): Promise<void> {
  const { world, network, nodes, mds } = cluster;
  const scans: OstScan[] = [];
  for (const node of nodes.values()) {
    const peer = await connectOst(world, network, process, nodes, node.ostId);
    const asked = { call: peer.call.bind(peer), clusterId: 'sim', process: node.name };
    scans.push(await scanOst(asked, CALL_TIMEOUT_MS).finally(() => peer.destroy()));
  }
  const plan = makePlan(scans, null, {
    silent: [],
    restoreDoubtful: true,
    nowWallMs: process.clock.wallMs(),
  });
  for (const { id, name, fate, why, stored } of plan.findings) {
    const mayGo = id !== cluster.object!.id && cluster.clones?.mayGo(id) === true;
    // An OST that was away when it was made has no trace of it, and others have.
    const isBack = fate === 'restored' || (fate === 'doubtful' && stored !== null);
    if (!isBack && fate !== 'removed') mds.unknown.add(id);
    if (!isBack && !mayGo) world.fail(`the rebuilt MDS has ${name} as ${fate}: ${why}`);
  }
  const leftOut = cluster.clones?.leaveOut() ?? null;
  const back = new Set(plan.objects.map(({ object }) => object.id));
  for (const id of [cluster.object!.id, ...(cluster.clones?.promised() ?? [])]) {
    if (!back.has(id)) world.fail(`the rebuilt MDS lacks ${id}`);
  }
  // As where an OST was away: whatever this MDS does not know stays as it is, until another rebuild.
  await mds.replace({ ...plan, objects: plan.objects.filter(({ object }) => object.id !== leftOut) });
  mds.leftOut = leftOut;
  if (leftOut === null) return;
  world.count('rebuiltWithoutOne');
  world.post(RELOST_MS, null, 'what was left out is wanted', () => {
    if (mds.leftOut === leftOut) loseMds(cluster);
  });
}
