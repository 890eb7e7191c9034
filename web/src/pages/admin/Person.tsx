import { TextLink } from '../../shared/TextLink';

/** Somebody by the end of their id, which leads to their page. */
export function Person({ id }: { id: string | null | undefined }) {
  if (!id) return '–';
  return (
    <TextLink to="/admin/users/$id" params={{ id }}>
      {id.slice(-8)}
    </TextLink>
  );
}
