import { ago, DASH, moment } from './format';

/** A moment in the browser's zone; its ISO form is in the title. */
export function When({ at, relative = false }: { at: string | null | undefined; relative?: boolean }) {
  if (!at) return <span>{DASH}</span>;
  return (
    <time dateTime={at} title={relative ? `${moment(at)} (${at})` : at} className="when">
      {relative ? ago(at) : moment(at)}
    </time>
  );
}
