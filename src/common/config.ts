import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { asRawstorError, RawstorError } from './errors.js';
import { nearestName } from './nearest.js';
import { parseCopyRate, parseScrubRateOrNone } from './rates.js';
import { parseDurationMs } from './units.js';

/** Name of the file that says where a cluster is. */
export const CLUSTER_FILE = 'cluster.toml';

const ADDRESS = /^(?:tcp:\/\/)?((?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)):(\d{1,5})$/;

/**
 * `tcp://HOST:PORT`, `HOST:PORT` or `unix:/PATH` in its one written form, or null when the text is none of
 * them.
 */
export function canonicalAddress(text: string): string | null {
  if (/^unix:\/./.test(text)) return text;
  const match = ADDRESS.exec(text);
  if (match === null || Number(match[2]) > 65535) return null;
  return `tcp://${match[1]}:${Number(match[2])}`;
}

const address = z.string().transform((text, context) => {
  const written = canonicalAddress(text);
  if (written !== null) return written;
  context.addIssue({ code: 'custom', message: `'${text}' is not tcp://HOST:PORT, HOST:PORT or unix:/PATH` });
  return z.NEVER;
});
const addresses = z.array(address);
const readBy = <T>(parse: (text: string) => T) =>
  z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: asRawstorError(error).message });
      return z.NEVER;
    }
  });
const path = z.string().min(1);
const labels = z.record(z.string(), z.string());

const copyRate = readBy(parseCopyRate);

/** TOML has numbers too. */
const scrubRate = z.union([z.number().transform(String), z.string()]).pipe(readBy(parseScrubRateOrNone));

const mgsSection = z.strictObject({
  dir: path.optional().describe('directory of the registry'),
  listen: addresses.optional().describe('addresses to listen on'),
  'http-listen': address.optional().describe('address of the status page and the metrics'),
});
const mdsSection = z.strictObject({
  dir: path.optional().describe('directory of the metadata'),
  listen: addresses.optional().describe('addresses to listen on'),
  'replace-after': readBy(parseDurationMs)
    .optional()
    .describe('how long an OST may be away before it is replaced where there is room; 0 for never'),
});
const ostSection = z.strictObject({
  dir: path.optional().describe('directory of the chunks; one per disk'),
  listen: addresses.optional().describe('addresses to listen on'),
  labels: labels
    .optional()
    .describe('labels such as host and rack; replicas sit in distinct failure domains'),
  recover: z
    .boolean()
    .optional()
    .describe('also repair and move volumes that nobody has open and that have a replica here'),
  'recovery-rate': copyRate.optional().describe('most that this copies a second'),
  checksums: z.boolean().optional().describe('checksums of stored blocks, verified when they are read; true'),
  'scrub-rate': scrubRate
    .optional()
    .describe('bytes a second that the background scrub reads, such as 4M; 0: none; 4M'),
});
const nbdSection = z.strictObject({
  listen: addresses.optional().describe('addresses to listen on for NBD clients'),
  control: path.optional().describe('path of the Unix socket for `rawstor-volume detach`'),
  'recovery-rate': copyRate.optional().describe('most that resyncs and moves of its volumes copy a second'),
  standby: z
    .boolean()
    .optional()
    .describe(
      'for guests that are moved: reads volumes that another gateway has, and takes them with the first write',
    ),
});
const gatewaySection = z.strictObject({
  nbd: addresses.optional().describe('where the NBD gateway of this machine listens'),
  control: path.optional().describe('control socket of that gateway'),
  'status-url': z.string().optional().describe('address of the status page, for people'),
});

/** Every key of the file; what each means is said here, and in docs/operations.md. */
export const clusterConfigSchema = z.strictObject({
  'cluster-id': z.string().optional().describe('id of the cluster; another cluster is refused'),
  mgs: addresses.optional().describe('addresses of the management servers'),
  mds: addresses.optional().describe('addresses of the metadata servers'),
  gateway: gatewaySection.optional().describe('the gateway that `attach` uses on this machine'),
  'serve-mgs': mgsSection.optional().describe('what `rawstor serve mgs` uses'),
  'serve-mds': mdsSection.optional().describe('what `rawstor serve mds` uses'),
  'serve-ost': ostSection.optional().describe('what `rawstor serve ost` uses'),
  'serve-nbd': nbdSection.optional().describe('what `rawstor serve nbd` uses'),
});
type ConfigFile = z.infer<typeof clusterConfigSchema>;

/** What a configuration file says. Lists are empty where it says nothing. */
export interface ClusterConfig {
  readonly clusterId: string | undefined;
  readonly mgs: readonly string[];
  readonly mds: readonly string[];
  readonly gateway: { nbd: readonly string[]; control: string | undefined; statusUrl: string | undefined };
  readonly serve: {
    mgs: NonNullable<ConfigFile['serve-mgs']>;
    mds: NonNullable<ConfigFile['serve-mds']>;
    ost: NonNullable<ConfigFile['serve-ost']>;
    nbd: NonNullable<ConfigFile['serve-nbd']>;
  };
}

/** @throws RawstorError NOT_FOUND, DENIED, or CONFIG naming the file and the line */
export function loadClusterConfig(file: string): ClusterConfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES') {
      throw new RawstorError('DENIED', 'the configuration file may not be read', {
        where: file,
        cause: error,
      });
    }
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw asRawstorError(error, file);
    throw new RawstorError('NOT_FOUND', 'there is no such configuration file', { where: file, cause: error });
  }
  return parseClusterConfig(text, file);
}

/** @throws RawstorError CONFIG naming the file and the line */
export function parseClusterConfig(text: string, file: string): ClusterConfig {
  let table: unknown;
  try {
    table = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const what = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '');
    throw new RawstorError('CONFIG', `the configuration file is no valid TOML: ${what}`, {
      where: `${file}:${error.line}`,
      hint: 'mend the file, or remove it when `rawstor up` wrote it: `up` writes it anew',
      cause: error,
    });
  }
  const parsed = clusterConfigSchema.safeParse(table);
  if (!parsed.success) throw firstIssue(parsed.error, text, file);
  const found = parsed.data;
  return {
    clusterId: found['cluster-id'],
    mgs: found.mgs ?? [],
    mds: found.mds ?? [],
    gateway: {
      nbd: found.gateway?.nbd ?? [],
      control: found.gateway?.control,
      statusUrl: found.gateway?.['status-url'],
    },
    serve: {
      mgs: found['serve-mgs'] ?? {},
      mds: found['serve-mds'] ?? {},
      ost: found['serve-ost'] ?? {},
      nbd: found['serve-nbd'] ?? {},
    },
  };
}

function firstIssue(error: z.ZodError, text: string, file: string): RawstorError {
  const issue = error.issues[0]!;
  const trail = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!;
    const name = [...trail, key].join('.');
    const near = nearestName(key, knownKeys(trail));
    return new RawstorError('CONFIG', `unknown key '${name}' in the configuration file`, {
      where: `${file}:${lineOfKey(text, trail, key)}`,
      hint: near === undefined ? `known here: ${knownKeys(trail).join(', ')}` : `did you mean '${near}'?`,
    });
  }
  const keys = trail.filter((part) => !/^\d+$/.test(part));
  const line = lineOfKey(text, keys.slice(0, -1), keys.at(-1) ?? '');
  return new RawstorError('CONFIG', `'${keys.join('.')}' in the configuration file: ${issue.message}`, {
    where: `${file}:${line}`,
  });
}

function knownKeys(trail: readonly string[]): string[] {
  let schema: unknown = clusterConfigSchema;
  for (const part of trail) {
    schema = schema instanceof z.ZodObject ? schema.shape[part] : undefined;
    if (schema instanceof z.ZodOptional) schema = schema.unwrap();
  }
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

/** Where a key is written; the parser does not say. 1 when it is written in a way not looked for. */
function lineOfKey(text: string, sections: readonly string[], key: string): number {
  let section = '';
  let fallback = 1;
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const header = /^\s*\[\s*([^\]]+?)\s*\]/.exec(lines[i]!);
    if (header !== null) section = header[1]!;
    if (header !== null && section === [...sections, key].join('.')) return i + 1;
    const name = /^\s*("?)([A-Za-z0-9_-]+)\1\s*[=.]/.exec(lines[i]!)?.[2];
    if (section === sections.join('.') && name === key) return i + 1;
    if (section === '' && name === sections[0]) fallback = i + 1;
  }
  return fallback;
}

/** Where a cluster is: addresses of an MGS or MDS, or a file that lists them. */
export type Location =
  | { readonly kind: 'addresses'; readonly addresses: readonly string[] }
  | { readonly kind: 'config'; readonly path: string; readonly config: ClusterConfig };

/**
 * Finds the cluster: the text (`--location`), `configFile` (`-c`), RAWSTOR_LOCATION, then cluster.toml in
 * ./.rawstor, ~/.config/rawstor and /etc/rawstor. A text is one or more addresses with commas, a file, or a
 * directory with cluster.toml.
 * @throws RawstorError USAGE, NOT_FOUND, CONFIG
 */
export function resolveLocation(
  text: string | undefined,
  env: Record<string, string | undefined> = process.env,
  cwd: string = process.cwd(),
  configFile?: string,
): Location {
  if (text !== undefined) return locationOf(text, cwd, '--location');
  if (configFile !== undefined) {
    const path = resolve(cwd, configFile);
    return withConfig(kindOf(path) === 'directory' ? join(path, CLUSTER_FILE) : path);
  }
  if (env.RAWSTOR_LOCATION) return locationOf(env.RAWSTOR_LOCATION, cwd, 'RAWSTOR_LOCATION');
  const home = env.XDG_CONFIG_HOME || join(env.HOME || homedir(), '.config');
  const usual = [
    join(cwd, '.rawstor', CLUSTER_FILE),
    join(home, 'rawstor', CLUSTER_FILE),
    join('/etc/rawstor', CLUSTER_FILE),
  ];
  for (const file of usual) if (kindOf(file) === 'file') return withConfig(file);
  throw new RawstorError('CONFIG', 'no cluster is known here', {
    where: `looked for ${usual.join(', ')}`,
    hint: 'start one with `rawstor up`, or name one with --location HOST:PORT or RAWSTOR_LOCATION',
  });
}

function locationOf(text: string, cwd: string, source: string): Location {
  const parts = text.split(',').map((part) => part.trim());
  const written = parts.map(canonicalAddress);
  if (written.every((part) => part !== null)) return { kind: 'addresses', addresses: written };
  const file = resolve(cwd, text);
  const kind = kindOf(file);
  if (kind === 'file') return withConfig(file);
  if (kind === 'directory') {
    for (const inside of [join(file, CLUSTER_FILE), join(file, '.rawstor', CLUSTER_FILE)]) {
      if (kindOf(inside) === 'file') return withConfig(inside);
    }
    throw new RawstorError('NOT_FOUND', `the directory given by ${source} has no ${CLUSTER_FILE}`, {
      where: file,
      hint: 'start a cluster on it with `rawstor up --dir`, or name another place',
    });
  }
  if (text.includes('/') || text.endsWith('.toml')) {
    throw new RawstorError('NOT_FOUND', `there is no file or directory as given by ${source}`, {
      where: file,
    });
  }
  throw new RawstorError('USAGE', `'${text}', given by ${source}, is not a location`, {
    hint: 'a location is tcp://HOST:PORT, HOST:PORT, unix:/PATH, a configuration file or a directory with cluster.toml',
  });
}

function withConfig(file: string): Location {
  const config = loadClusterConfig(file);
  if (config.mgs.length === 0 && config.mds.length === 0) {
    throw new RawstorError('CONFIG', 'the configuration file names neither an MGS nor an MDS', {
      where: file,
      hint: 'add a line such as: mds = ["tcp://127.0.0.1:7771"]',
    });
  }
  return { kind: 'config', path: file, config };
}

function kindOf(file: string): 'file' | 'directory' | null {
  try {
    return statSync(file).isDirectory() ? 'directory' : 'file';
  } catch {
    return null;
  }
}
