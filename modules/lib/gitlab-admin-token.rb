# Give root a fresh token for the bootstrap of the agency, and take the earlier ones away.
#
# For `gitlab-rails runner`, as GitLab's own user: nobody logs in. Argument: the file of the token.
# Source: doc/user/profile/personal_access_tokens.md, "Create a personal access token programmatically".
require "securerandom"

file = ARGV.fetch(0)
name = "agency-bootstrap"
root = User.find_by_username!("root")
earlier = root.personal_access_tokens.active.where(name: name).to_a

facts = {
  name: name,
  scopes: ["api", "admin_mode"],
  # Longer than the file lives, shorter than a leak is worth.
  expires_at: 3.days.from_now
}
if PersonalAccessToken.column_names.include?("organization_id") && root.respond_to?(:organization)
  facts[:organization] = root.organization
end
value = "glpat-#{SecureRandom.hex(20)}"
token = root.personal_access_tokens.build(facts)
token.set_token(value)
token.save!

# Whole or not at all.
File.write("#{file}.new", value, perm: 0o600)
File.rename("#{file}.new", file)
earlier.each(&:revoke!)
