import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { malformedXml, type S3Error } from './errors.js';

/** A tree to write: text, or elements by name; an array stands for elements of the same name. */
export type XmlValue =
  | string
  | number
  | boolean
  | undefined
  | readonly XmlValue[]
  | { readonly [name: string]: XmlValue };

const NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/';

export const XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** A root element of S3's namespace. */
export function xmlElement(root: string, value: XmlValue): string {
  return `<${root} xmlns="${NAMESPACE}">${content(value)}</${root}>`;
}

export function xmlDocument(root: string, value: XmlValue): string {
  return XML_DECLARATION + xmlElement(root, value);
}

/** The root element of an error, which has no namespace. */
export function xmlFailure({ code, message, details }: S3Error, resource: string, requestId: string): string {
  const said = { Code: code, Message: message, Resource: resource, RequestId: requestId, ...details };
  return `<Error>${content(said)}</Error>`;
}

function content(value: XmlValue): string {
  if (typeof value === 'object' && !Array.isArray(value)) {
    return Object.entries(value)
      .map(([name, inner]) => element(name, inner as XmlValue))
      .join('');
  }
  return value === undefined ? '' : escaped(String(value));
}

function element(name: string, value: XmlValue): string {
  if (value === undefined) return '';
  if (Array.isArray(value)) return value.map((one) => element(name, one as XmlValue)).join('');
  return `<${name}>${content(value)}</${name}>`;
}

const NAMED: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** Characters that XML 1.0 does not have become references all the same: S3 does it too. */
function escaped(text: string): string {
  let result = '';
  for (const char of text) {
    const code = char.charCodeAt(0);
    result += NAMED[char] ?? (code < 0x20 ? `&#${code};` : char);
  }
  return result;
}

/** Element names that may come more than once. */
const LISTS = new Set([
  'Object',
  'Part',
  'Tag',
  'CORSRule',
  'AllowedOrigin',
  'AllowedMethod',
  'AllowedHeader',
  'ExposeHeader',
]);

const parser = new XMLParser({
  ignoreAttributes: true,
  ignoreDeclaration: true,
  parseTagValue: false,
  // Keys may begin and end with blanks.
  trimValues: false,
  removeNSPrefix: true,
  // Characters by number too, which Go writes quotes with; a document without a DTD has no entities that grow.
  processEntities: true,
  htmlEntities: true,
  isArray: (name) => LISTS.has(name),
  tagValueProcessor: (_, text) => (text.trim() === '' && text.includes('\n') ? '' : text),
});

export interface XmlElement {
  readonly [name: string]: unknown;
}

/** The root element of a document. @throws S3Error MalformedXML */
export function parseXml(body: Buffer, root: string): XmlElement {
  const text = body.toString('utf8');
  if (text.includes('<!DOCTYPE') || XMLValidator.validate(text) !== true) throw malformedXml();
  const found = parsed(text)[root];
  if (found === '') return {};
  if (typeof found !== 'object' || found === null) throw malformedXml();
  return found as XmlElement;
}

/** Names that an object of JavaScript has by itself are refused by the parser. @throws S3Error MalformedXML */
function parsed(text: string): XmlElement {
  try {
    return parser.parse(text) as XmlElement;
  } catch {
    throw malformedXml();
  }
}

/** @throws S3Error MalformedXML */
export function elements(parent: XmlElement, name: string): XmlElement[] {
  const found = parent[name] ?? [];
  return (Array.isArray(found) ? found : [found]).map((one) =>
    typeof one === 'object' ? one : {},
  ) as XmlElement[];
}

export function texts(parent: XmlElement, name: string): string[] {
  const found = parent[name] ?? [];
  return (Array.isArray(found) ? found : [found]).map((one) => String(one));
}

export function text(parent: XmlElement, name: string): string | undefined {
  const found = parent[name];
  if (typeof found === 'number' || typeof found === 'boolean') return String(found);
  return typeof found === 'string' ? found : undefined;
}
