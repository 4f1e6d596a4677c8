import type { ProgramSpec, VerbSpec } from './command.js';
import { df } from './verbs/df.js';
import { gc } from './verbs/gc.js';
import { libvirt } from './verbs/libvirt/index.js';
import { mdsDump } from './verbs/mds/dump.js';
import { mdsLoad } from './verbs/mds/load.js';
import { mdsRebuild } from './verbs/mds/rebuild.js';
import { mount } from './verbs/mount.js';
import { drain } from './verbs/ost/drain.js';
import { ostLs } from './verbs/ost/ls.js';
import { rebalance } from './verbs/ost/rebalance.js';
import { ostRm } from './verbs/ost/rm.js';
import { recover } from './verbs/recover.js';
import { s3 } from './verbs/s3/index.js';
import { scrub } from './verbs/scrub.js';
import { serveMds } from './verbs/serve/mds.js';
import { serveMgs } from './verbs/serve/mgs.js';
import { serveNbd } from './verbs/serve/nbd.js';
import { serveNode } from './verbs/serve/node.js';
import { serveOst } from './verbs/serve/ost.js';
import { serveS3 } from './verbs/serve/s3.js';
import { serveVhost } from './verbs/serve/vhost.js';
import { snapshot } from './verbs/snapshot/index.js';
import { status } from './verbs/status.js';
import { top } from './verbs/top.js';
import { up } from './verbs/up.js';
import { acknowledgeLoss } from './verbs/volume/acknowledge-loss.js';
import { attach } from './verbs/volume/attach.js';
import { bench } from './verbs/volume/bench.js';
import { children } from './verbs/volume/children.js';
import { clone } from './verbs/volume/clone.js';
import { create } from './verbs/volume/create.js';
import { detach } from './verbs/volume/detach.js';
import { du } from './verbs/volume/du.js';
import { exportVerb } from './verbs/volume/export.js';
import { flatten } from './verbs/volume/flatten.js';
import { importVerb } from './verbs/volume/import.js';
import { info } from './verbs/volume/info.js';
import { key } from './verbs/volume/key.js';
import { ls } from './verbs/volume/ls.js';
import { map } from './verbs/volume/map.js';
import { rename } from './verbs/volume/rename.js';
import { resize } from './verbs/volume/resize.js';
import { rm } from './verbs/volume/rm.js';

const serve: VerbSpec = {
  name: 'serve',
  summary: 'run one server in the foreground',
  description: 'SIGTERM and SIGINT end it cleanly. Under systemd use Type=notify and NotifyAccess=all.',
  verbs: [serveOst, serveMds, serveMgs, serveNbd, serveVhost, serveS3, serveNode],
  examples: [...serveOst.examples.slice(0, 1), ...serveNbd.examples.slice(0, 1)],
};

const ost: VerbSpec = {
  name: 'ost',
  summary: 'look at the OSTs, empty and remove them',
  verbs: [ostLs, drain, rebalance, ostRm],
  examples: [...ostLs.examples.slice(0, 1), ...drain.examples.slice(0, 1)],
};

const mds: VerbSpec = {
  name: 'mds',
  summary: 'copy the metadata, or make it anew when it is lost',
  verbs: [mdsDump, mdsLoad, mdsRebuild],
  examples: [...mdsDump.examples.slice(0, 1), ...mdsRebuild.examples.slice(0, 1)],
};

export const RAWSTOR: ProgramSpec = {
  name: 'rawstor',
  summary: 'block storage for virtual machines: run and look at a cluster (volumes: rawstor-volume)',
  verbs: [up, serve, serveVhost, mount, status, top, df, ost, recover, mds, s3, libvirt, scrub, gc],
  examples: [
    { command: 'rawstor up', what: 'a cluster on this machine, with a volume to try' },
    { command: 'rawstor status', what: 'how it is' },
  ],
};

export const RAWSTOR_VOLUME: ProgramSpec = {
  name: 'rawstor-volume',
  summary: 'create, look at, copy and attach volumes; snapshots and clones of them',
  verbs: [
    create,
    ls,
    info,
    resize,
    rename,
    rm,
    snapshot,
    clone,
    children,
    flatten,
    key,
    map,
    du,
    importVerb,
    exportVerb,
    attach,
    detach,
    acknowledgeLoss,
    bench,
  ],
  examples: [
    { command: 'rawstor-volume create vm1 --size 10G', what: 'a volume' },
    { command: 'rawstor-volume attach vm1 --print qemu', what: 'a guest on it' },
  ],
};

const single = (name: string, verb: VerbSpec): ProgramSpec => ({
  name,
  summary: verb.summary,
  verbs: [],
  examples: [],
  only: verb,
});

export const RAWSTOR_OST = single('rawstor-ost', serveOst);
export const RAWSTOR_MDS = single('rawstor-mds', serveMds);
export const RAWSTOR_MGS = single('rawstor-mgs', serveMgs);
export const RAWSTOR_NBD = single('rawstor-nbd', serveNbd);
export const RAWSTOR_VHOST = single('rawstor-vhost', serveVhost);
export const PROGRAMS = [
  RAWSTOR,
  RAWSTOR_VOLUME,
  RAWSTOR_OST,
  RAWSTOR_MDS,
  RAWSTOR_MGS,
  RAWSTOR_NBD,
  RAWSTOR_VHOST,
];
