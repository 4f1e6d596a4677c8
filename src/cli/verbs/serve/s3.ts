import { canonicalAddress } from '../../../common/config.js';
import { RawstorError } from '../../../common/errors.js';
import { runService } from '../../../common/lifecycle.js';
import { LIMITS } from '../../../common/limits.js';
import { S3_LIMITS, startS3 } from '../../../s3-lite/index.js';
import { defineVerb } from '../../command.js';
import { openCluster } from '../../gateway/open-cluster.js';
import { KEY_OPTIONS } from '../../keys.js';
import { wholeNumber } from '../../options.js';
import { openEnvironment, SERVER_OPTIONS } from '../../roles/environment.js';
import { S3_PORT } from './ports.js';
import { MIN_UPLOAD_RATE } from './upload-rate.js';

interface Options {
  listen?: string[];
  domain: string;
  region: string;
  replicas: number;
  minReplicas: number;
  stripeWidth: number | 'all';
  failureDomain: string;
  minUploadRate: number;
  label?: Record<string, string>;
  mds?: string[];
  mgs?: string[];
  poolSize?: number;
}

export const serveS3 = defineVerb<Options>({
  name: 's3',
  summary: 'serve the buckets of a cluster by S3',
  description:
    'HTTP without TLS: put a proxy before it where the network is not trusted. Who may do what is said by access keys, ' +
    '`rawstor s3 key create`. Several gateways of one cluster serve the same buckets.',
  options: [
    SERVER_OPTIONS.listen(S3_PORT),
    {
      flags: '--domain <name>',
      help: 'hosts below it name a bucket: BUCKET.s3.example.com for s3.example.com',
      default: '',
      defaultText: 'none',
    },
    { flags: '--region <name>', help: 'region that clients are told', default: 'us-east-1' },
    {
      flags: '--replicas <n>',
      help: 'copies of what is put from now on',
      parse: wholeNumber(1, LIMITS.replicas),
      default: 2,
    },
    {
      flags: '--min-replicas <n>',
      help: 'a PUT fails while fewer copies than this can be written',
      parse: wholeNumber(1, LIMITS.replicas),
      default: 1,
    },
    {
      flags: '--stripe-width <n>',
      help: 'over how many OSTs a large object is spread; all: over all',
      parse: (text) => (text === 'all' ? 'all' : wholeNumber(1, LIMITS.poolMembers)(text)),
      default: 1,
    },
    {
      flags: '--failure-domain <label>',
      help: 'label that copies must differ in: host, rack, ... or ost',
      default: 'host',
    },
    MIN_UPLOAD_RATE,
    SERVER_OPTIONS.label,
    SERVER_OPTIONS.mds,
    SERVER_OPTIONS.mgs,
    SERVER_OPTIONS.poolSize,
    ...KEY_OPTIONS,
  ],
  examples: [
    { command: 'rawstor serve s3 --listen tcp://0.0.0.0:7773 --mds 10.0.0.1:7771', what: 'on all addresses' },
    {
      command: 'rawstor serve s3 --domain s3.example.com --key-file backups=/etc/rawstor/backups.key',
      what: 'buckets as host names too, and one that is encrypted',
    },
  ],
  async run(context, _args, options) {
    if (options.minReplicas > options.replicas) {
      throw new RawstorError('USAGE', `--min-replicas ${options.minReplicas} is more than --replicas`);
    }
    const listen = options.listen ?? [`tcp://127.0.0.1:${S3_PORT}`];
    const places = listen.map(placeOf);
    const env = openEnvironment(context, 's3', options.poolSize);
    const start = async (stopping: AbortSignal) => {
      const facts = () => ({ name: 'rawstor-s3', registered: null });
      const { cluster, closeBehind } = await openCluster(context, env, options, facts, stopping);
      const { replicas, minReplicas, stripeWidth, failureDomain, domain, region, minUploadRate } = options;
      const layout = { replicas, minReplicas, stripeWidth, failureDomain, near: null };
      const limits = { body: { ...S3_LIMITS.body, bytesPerSecond: minUploadRate } };
      const s3 = await startS3({ ...env, cluster, listen: places, domain, region, layout, limits });
      const close = () => closeBehind(s3);
      return { s3, close };
    };
    const facts = ({ s3 }: Awaited<ReturnType<typeof start>>) => ({
      addresses: places.map(
        ({ host }, i) => `http://${host.includes(':') ? `[${host}]` : host}:${s3.ports[i]}`,
      ),
    });
    return await runService(start, { log: env.log, facts });
  },
});

function placeOf(text: string): { host: string; port: number } {
  const found = /^tcp:\/\/(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(canonicalAddress(text) ?? '');
  if (found !== null) return { host: (found[1] ?? found[2])!, port: Number(found[3]) };
  throw new RawstorError('USAGE', `'${text}' is not an address for HTTP`, { hint: 'write tcp://HOST:PORT' });
}
